//! `compose.yaml` and the trial on top of it.

use std::collections::BTreeMap;
use std::fs;

use boon::{Compiler, Schemas};
use doorbook_core::config::{Environment, Process, Settings, registry};
use serde_json::Value;

use crate::common::{Folder, read, recipe, root, run_recipe};

/// What an operator writes into `.env`.
const OPERATOR: [(&str, &str); 6] = [
    ("FRONTEND_URL", "https://app.example.com"),
    ("ALLOWED_HOSTS", "api.example.com"),
    ("CORS_ALLOWED_ORIGINS", "https://app.example.com"),
    ("DEFAULT_FROM_EMAIL", "Doorbook <doorbook@example.com>"),
    ("EMAIL_HOST", "smtp.example.com"),
    ("EMAIL_HOST_USER", "apikey"),
];
/// Services of our own image, and the process whose settings each reads.
const OURS: [(&str, Process); 3] = [("migrate", Process::Cli), ("api", Process::Api), ("worker", Process::Worker)];
/// What a process needs beside its hashes.
const MEMORY_BESIDE_HASHES_MIB: u64 = 128;

pub fn file(path: &str) -> Value {
    let mut document: serde_yaml::Value = serde_yaml::from_str(&read(path)).unwrap();
    // What is merged in may merge something in itself.
    for _ in 0..3 {
        document.apply_merge().unwrap();
    }
    serde_json::to_value(document).unwrap()
}

fn both() -> [(&'static str, Value); 2] {
    ["compose.yaml", "compose.trial.yaml"].map(|path| (path, file(path)))
}

fn services(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["services"].as_object().unwrap().iter()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `${NAME:-default}`, as the Compose Specification has them.
fn interpolate(text: &str, given: &BTreeMap<&str, &str>) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (expression, after) = rest.split_once('}').unwrap();
    let (name, default) = expression.split_once(":-").unwrap();
    let value = given.get(name).copied().unwrap_or(default);
    format!("{before}{value}{}", interpolate(after, given))
}

/// The environment of one of our services, with the files of `secrets` where the containers have theirs.
pub fn environment(documents: &[Value], service: &str, secrets: &str) -> BTreeMap<String, String> {
    environment_of(&OPERATOR, documents, service, secrets)
}

/// The same with another `.env`.
fn environment_of(
    dotenv: &[(&str, &str)],
    documents: &[Value],
    service: &str,
    secrets: &str,
) -> BTreeMap<String, String> {
    let given = dotenv.iter().copied().collect();
    let mut environment = BTreeMap::new();
    for document in documents {
        for (name, value) in document["services"][service]["environment"].as_object().unwrap() {
            let value = value.as_str().unwrap_or_else(|| panic!("{name} of {service} is no string"));
            environment.insert(name.clone(), interpolate(value, &given).replace("/run/secrets", secrets));
        }
    }
    environment
}

/// The files that the document tells operators to make, made as it says.
pub fn secrets(name: &str) -> Folder {
    let folder = Folder::new(name);
    run_recipe(&recipe("docs/OPERATIONS.md", "secrets"), &folder.0, &[]);
    folder
}

fn mebibytes(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u64>().unwrap() * if unit == "G" { 1024 } else { 1 }
}

fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}

#[test]
fn both_compose_files_are_what_the_specification_asks_for() {
    let schema: Value = serde_json::from_str(&read("deploy/schema/compose-spec.json")).unwrap();
    let mut compiler = Compiler::new();
    compiler.add_resource("compose-spec.json", schema).unwrap();
    let mut schemas = Schemas::new();
    let index = compiler.compile("compose-spec.json", &mut schemas).unwrap();
    for (path, document) in both() {
        schemas.validate(&document, index).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    // A wrong word is noticed.
    let mut wrong = file("compose.yaml");
    wrong["services"]["api"]["readonly"] = true.into();
    assert!(schemas.validate(&wrong, index).is_err());
}

#[test]
fn every_container_is_confined() {
    let whole = [file("compose.yaml"), file("compose.trial.yaml")];
    let added = services(&whole[1]).filter(|(_, service)| service["image"].is_string());
    for (name, service) in services(&whole[0]).chain(added) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{name}");
        assert!(service["cap_add"].is_null() && service["privileged"].is_null(), "{name}");
        assert_eq!(strings(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        let user = service["user"].as_str().unwrap_or_else(|| panic!("{name} has no user"));
        assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{name} runs as {user}");
        for limit in ["cpus", "memory", "pids"] {
            assert!(!service["deploy"]["resources"]["limits"][limit].is_null(), "{name}: {limit}");
        }
        let restart = service["restart"].as_str().unwrap();
        assert_eq!(restart, if name == "migrate" { "no" } else { "unless-stopped" }, "{name}");
        assert_eq!(service["healthcheck"]["test"].is_array(), name != "migrate", "{name}");
        let volumes = strings(&service["volumes"]);
        assert!(!volumes.iter().any(|volume| volume.contains("docker.sock")), "{name}");
    }
}

#[test]
fn every_image_has_a_version() {
    for (path, document) in both() {
        for (name, service) in services(&document) {
            let Some(image) = service["image"].as_str() else { continue };
            let image = interpolate(image, &BTreeMap::new());
            let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{path}: {name} has no version"));
            let version = tag.trim_start_matches('v').split('-').next().unwrap();
            let parts: Vec<_> = version.split('.').collect();
            assert!(parts.len() >= 2 && parts.iter().all(|part| part.parse::<u32>().is_ok()), "{path}: {image}");
        }
    }
}

#[test]
fn the_database_and_the_queue_are_nobodys_but_ours() {
    let whole = file("compose.yaml");
    for (service, network) in [("postgres", "database"), ("valkey", "queue")] {
        assert!(whole["services"][service]["ports"].is_null(), "{service}");
        assert_eq!(strings(&whole["services"][service]["networks"]), [network]);
        assert_eq!(whole["networks"][network]["internal"], true);
    }
    for (path, document) in both() {
        for (name, service) in services(&document) {
            let ports = strings(&service["ports"]);
            assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{path}: {name} publishes {ports:?}");
            let on = |network| strings(&service["networks"]).contains(&network);
            assert!(!on("queue") || ["worker", "valkey"].contains(&name.as_str()), "{name}");
            assert!(!on("outside") || name == "worker", "{name}");
        }
    }
    let front = &whole["networks"]["front"]["ipam"]["config"][0];
    let proxy = whole["services"]["api"]["environment"]["TRUSTED_PROXIES"].as_str().unwrap();
    assert_eq!(
        proxy,
        format!("{}/32", front["gateway"].as_str().unwrap()),
        "forwarded headers count from the host alone"
    );
}

#[test]
fn every_setting_of_the_compose_files_is_one_that_doorbook_knows() {
    for (path, document) in both() {
        for (service, _) in OURS {
            for (name, value) in document["services"][service]["environment"].as_object().unwrap() {
                let plain = name.strip_suffix("_FILE").unwrap_or(name);
                let variable = registry::ALL.iter().find(|variable| variable.name == plain || variable.name == name);
                let variable = variable.unwrap_or_else(|| panic!("{path}: {service} sets {name}, which nothing reads"));
                let is_file = variable.name == plain && plain != name;
                assert_eq!(variable.secret, is_file, "{path}: {name}: secrets come as files, and nothing else does");
                let value = value.as_str().unwrap();
                assert!(!is_file || value.is_empty() || value.starts_with("/run/secrets/"), "{path}: {name}");
            }
        }
    }
}

#[test]
fn every_secret_a_service_reads_is_given_to_it_and_no_other() {
    let whole = file("compose.yaml");
    for (name, service) in services(&whole) {
        let environment = service["environment"].to_string() + &service["command"].to_string();
        let mut read: Vec<_> =
            environment.split("/run/secrets/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        if name == "postgres" {
            let script = crate::common::read("deploy/postgres/logins.sql");
            read.extend(["owner_password", "api_password", "worker_password"]);
            assert!(read[1..].iter().all(|secret| script.contains(&format!("`cat /run/secrets/{secret}`"))));
        }
        let mut given = strings(&service["secrets"]);
        read.sort_unstable();
        given.sort_unstable();
        assert_eq!(given, read, "{name}");
        assert!(given.iter().all(|secret| whole["secrets"][*secret]["file"].is_string()), "{name}");
    }
}

#[test]
fn the_documented_recipe_makes_the_files_that_the_compose_file_names() {
    let folder = secrets("recipe");
    let whole = file("compose.yaml");
    let mut named: Vec<_> =
        whole["secrets"].as_object().unwrap().values().map(|secret| secret["file"].as_str().unwrap()).collect();
    let files = fs::read_dir(folder.0.join("secrets")).unwrap();
    let mut made: Vec<_> =
        files.map(|entry| format!("./secrets/{}", entry.unwrap().file_name().to_string_lossy())).collect();
    named.sort_unstable();
    made.sort();
    assert_eq!(made, named);
}

#[test]
fn api_worker_and_migrate_accept_what_the_compose_files_say() {
    let folder = secrets("settings");
    let secrets = folder.0.join("secrets").to_string_lossy().into_owned();
    let trial = [file("compose.yaml"), file("compose.trial.yaml")];
    for documents in [&trial[..1], &trial[..]] {
        for (service, process) in OURS {
            let environment: Environment = environment(documents, service, &secrets).into_iter().collect();
            let settings = Settings::load(&environment, process).unwrap_or_else(|faults| panic!("{service}: {faults}"));
            assert!(!settings.debug, "{service}");
        }
    }
}

#[test]
fn a_trial_needs_no_env_file_and_production_is_told_what_its_own_lacks() {
    let folder = secrets("trial");
    let secrets = folder.0.join("secrets").to_string_lossy().into_owned();
    let trial = [file("compose.yaml"), file("compose.trial.yaml")];
    for (service, process) in OURS {
        let environment: Environment = environment_of(&[], &trial, service, &secrets).into_iter().collect();
        Settings::load(&environment, process).unwrap_or_else(|faults| panic!("{service}: {faults}"));
        let environment: Environment = environment_of(&[], &trial[..1], service, &secrets).into_iter().collect();
        let faults = Settings::load(&environment, process).unwrap_err().to_string();
        for name in ["FRONTEND_URL", "ALLOWED_HOSTS", "DEFAULT_FROM_EMAIL", "EMAIL_HOST"] {
            assert!(faults.contains(&format!("{name}: ")), "{service}: {name} in {faults}");
        }
    }
}

#[test]
fn memory_and_time_to_stop_fit_what_the_processes_need() {
    let folder = secrets("limits");
    let whole = [file("compose.yaml")];
    let environment = environment(&whole, "api", &folder.0.join("secrets").to_string_lossy());
    let settings = Settings::load(&environment.into_iter().collect(), Process::Api).unwrap();
    let password = &settings.password;
    let hashes = u64::from(password.hashing_concurrency) * u64::from(password.argon2.memory_kib) / 1024;
    let limit = mebibytes(
        whole[0]["services"]["api"]["deploy"]["resources"]["limits"]["memory"].as_str().unwrap().trim_end_matches('B'),
    );
    assert!(limit >= hashes + MEMORY_BESIDE_HASHES_MIB, "{hashes} MiB of hashes in {limit} MiB");
    let grace = |service: &str| seconds(whole[0]["services"][service]["stop_grace_period"].as_str().unwrap());
    assert!(grace("api") > 2 * drain_seconds(), "the api is killed while it drains");
    assert!(grace("worker") > grace_seconds(), "the worker is killed while its jobs end");
}

/// Seconds that the api gives requests, and again their commands.
pub fn drain_seconds() -> u64 {
    number(&read("api/src/edge.rs"), "drain: Duration::from_secs(")
}

/// Seconds that the worker gives its jobs.
pub fn grace_seconds() -> u64 {
    number(&read("worker/src/lib.rs"), "const GRACE: Duration = Duration::from_secs(")
}

fn number(text: &str, before: &str) -> u64 {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} has moved"));
    rest.split(')').next().unwrap().parse().unwrap()
}

#[test]
fn the_programs_of_the_compose_file_exist() {
    let whole = file("compose.yaml");
    for (service, _) in OURS {
        let program = strings(&whole["services"][service]["command"])[0];
        let package = if program == "doorbook" { "cli" } else { program.strip_prefix("doorbook-").unwrap() };
        assert!(root().join(package).join("src/main.rs").is_file(), "{service}: {program}");
    }
}
