//! `doorbook check --deploy`: a good deployment passes, and each thing wrong with one fails its own line.

use std::time::{Duration, SystemTime};

use doorbook_dev::sink::{Access, Protection};
use doorbook_dev::{Role, certified, free_port};
use sqlx::Executor as _;

use crate::common::*;

/// A good deployment passes, with something to look at that it cannot have yet.
async fn assert_good(deployment: &Deployment) {
    let ran = deployment.check(&[]).await;
    assert_eq!(ran.with_verdict("fail"), [""; 0], "{ran:?}");
    assert_eq!(ran.with_verdict("warn"), ["checkpoints"], "{ran:?}");
    assert_eq!((ran.status, ran.json()["failed"].as_bool()), (0, Some(false)));
    let page = include_str!("../../../docs/CHECK.md");
    let table = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let listed: Vec<&str> = table.flat_map(|cell| cell.split(", ")).collect();
    for check in ran.json()["lines"].as_array().unwrap() {
        let name = check["check"].as_str().unwrap();
        assert!(listed.contains(&name), "docs/CHECK.md does not list {name}");
    }
}

/// These changes fail this line, no other, and the exit status tells.
async fn assert_fails(deployment: &Deployment, changes: &[(&str, &str)], line: &str) {
    let ran = deployment.check(changes).await;
    assert_eq!(ran.with_verdict("fail"), [line], "{changes:?}: {ran:?}");
    assert_eq!(ran.status, 1, "{changes:?}");
    for secret in [SECRET_KEY, JWT_SECRET_KEY, "canary-canary-canary"] {
        assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{changes:?}: {ran:?}");
    }
}

/// C063, C064. Breaks when `cli/src/check/files.rs`: `Err(error) => Line::fail(BACKUP, ` → `Err(error) => Line::ok(BACKUP, `.
#[tokio::test]
async fn each_wrong_setting_fails_its_own_line_and_no_other() {
    let deployment = deployment().await;
    assert_good(&deployment).await;
    let missing = deployment.folder.join("no-such-folder/service.log");
    let api = &deployment.environment["DATABASE_URL"];
    let wrong_password = |role: Role| {
        let url = deployment.database.url_for(role);
        let (head, tail) = url.split_once('@').unwrap();
        format!("{}:canary-canary-canary@{tail}", head.rsplit_once(':').unwrap().0)
    };
    let superuser = api.replace("dev_api:", "postgres:");
    let [wrong_api, wrong_worker, wrong_owner] = [Role::Api, Role::Worker, Role::Migrator].map(wrong_password);
    let cases: &[(&str, &str, &str)] = &[
        ("SECRET_KEY", "canary-canary-canary", "keys"),
        ("SECRET_KEY", "", "keys"),
        ("JWT_SECRET_KEY", SECRET_KEY, "keys"),
        ("JWT_SECRET_KEY", "5OVV9pnTd98ECzlGimgVhuIN92pPTpr-AnPd-7nPJZ8", "keys"),
        ("DEBUG", "True", "debug"),
        ("ALLOWED_HOSTS", "*", "hosts"),
        ("ALLOWED_HOSTS", "localhost", "hosts"),
        ("DATABASE_URL", &superuser, "database login"),
        ("DATABASE_URL", &wrong_api, "database"),
        ("WORKER_DATABASE_URL", &wrong_worker, "worker database"),
        ("DATABASE_MIGRATE_URL", &wrong_owner, "owner database"),
        ("DATABASE_DIRECT_URL", &wrong_api, "direct database"),
        ("REDIS_URL", "redis://127.0.0.1/zero", "redis address"),
        ("EMAIL_BACKEND", "console", "mail settings"),
        ("EMAIL_HOST_USER", "apikey", "mail settings"),
        ("FRONTEND_URL", "http://example.com", "frontend"),
        ("CORS_ALLOWED_ORIGINS", "http://example.com", "cors"),
        ("CORS_ALLOWED_ORIGINS", "*", "cors"),
        ("TRUSTED_PROXIES", "0.0.0.0/0", "proxies"),
        ("SECURE_SSL_REDIRECT", "False", "https"),
        ("SESSION_COOKIE_SECURE", "False", "cookies"),
        ("PASSWORD_MIN_LENGTH", "7", "passwords"),
        ("LOG_LEVEL", "loud", "log"),
        ("LOG_FILE", missing.to_str().unwrap(), "log file"),
        ("SENTRY_DSN", "https://examplePublicKey@o0.ingest.sentry.io/0", "sentry"),
        ("CHECKPOINT_SINK", "s3://bucket", "checkpoints"),
        ("BACKUP_STAMP_FILE", "/no-such-folder/stamp", "last backup"),
        ("REFRESH_GRACE_SECONDS", "61", "other settings"),
    ];
    for (name, value, line) in cases {
        assert_fails(&deployment, &[(name, value)], line).await;
    }
}

/// C063. Breaks when `cli/src/check/deploy.rs`: `lines.push(redis::line(parts.redis.as_ref()).await);` → ``.
#[tokio::test]
async fn servers_that_do_not_answer_or_not_as_asked_fail_their_lines() {
    let deployment = deployment().await;
    let closed = free_port().unwrap().to_string();
    let redis_port = format!("redis://127.0.0.1:{closed}/0");
    let redis = &deployment.environment["REDIS_URL"];
    let redis_password = format!("redis://:canary-canary-canary@{}", redis.split_once('@').unwrap().1);
    assert_fails(&deployment, &[("REDIS_URL", &redis_port)], "redis").await;
    assert_fails(&deployment, &[("REDIS_URL", &redis_password)], "redis").await;
    assert_fails(&deployment, &[("EMAIL_PORT", &closed)], "mail server").await;
    // The sink offers neither STARTTLS nor a login: there is no way on in clear text.
    assert_fails(&deployment, &[("EMAIL_USE_TLS", "True")], "mail server").await;
    let login = [("EMAIL_HOST_USER", "apikey"), ("EMAIL_HOST_PASSWORD", "canary-canary-canary")];
    assert_fails(&deployment, &login, "mail server").await;
    assert!(deployment.sink.mails().is_empty(), "no mail is sent unasked");
}

/// C063. Breaks when `cli/src/check/mail.rs`: `login: smtp.login.as_ref().map(|login| Login::new(login.user.clone(), login.password.expose().clone())),` → `login: None,`.
#[tokio::test]
async fn a_mail_server_with_tls_and_a_login_passes_and_fails_with_the_wrong_one_of_either() {
    let deployment = deployment().await;
    let (certificate, acceptor) = certified("127.0.0.1").unwrap();
    let (ours, other) = (deployment.folder.join("ca.pem"), deployment.folder.join("other.pem"));
    std::fs::write(&ours, certificate).unwrap();
    std::fs::write(&other, certified("127.0.0.1").unwrap().0).unwrap();
    let [ours, other] = [&ours, &other].map(|path| path.to_str().unwrap());
    let login = [("EMAIL_HOST_USER", "apikey"), ("EMAIL_HOST_PASSWORD", "right-horse-battery")];
    for (protection, how) in [
        (Protection::StartTls(acceptor.clone()), ("EMAIL_USE_TLS", "True")),
        (Protection::Implicit(acceptor), ("EMAIL_USE_SSL", "True")),
    ] {
        let [(_, user), (_, password)] = login;
        deployment.sink.demand(Access { protection, login: Some((user.to_owned(), password.to_owned())) });
        let settings = [&[how, ("EMAIL_CA_FILE", ours)], &login[..]].concat();
        let ran = deployment.check(&settings).await;
        assert_eq!((ran.with_verdict("fail"), ran.note("mail server").as_str()), (vec![], "reachable: TLS and login"));
        assert!(!ran.out.contains(password) && !ran.err.contains(password), "{ran:?}");
        for wrong in [("EMAIL_CA_FILE", other), ("EMAIL_CA_FILE", ""), ("EMAIL_HOST_PASSWORD", "canary-canary-canary")]
        {
            assert_fails(&deployment, &[&settings[..], &[wrong]].concat(), "mail server").await;
        }
        let count = deployment.sink.mails().len();
        let arguments = ["check", "--deploy", "--json", "--send-test-mail", "ops@example.com"];
        let ran = deployment.run(&arguments, &deployment.with(&settings)).await;
        assert!(ran.with_verdict("ok").contains(&"test mail".to_owned()), "{ran:?}");
        assert_eq!(deployment.sink.mails().len(), count + 1, "one mail, and only when asked");
    }
}

#[tokio::test]
async fn a_test_mail_goes_to_the_address_that_is_given() {
    let deployment = deployment().await;
    let arguments = ["check", "--deploy", "--json", "--send-test-mail", "ops@example.com"];
    let ran = deployment.run(&arguments, &deployment.environment).await;
    assert!(ran.status == 0 && ran.with_verdict("ok").contains(&"test mail".to_owned()), "{ran:?}");
    let mails = deployment.sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].subject, "Test mail of Doorbook");
}

/// C063. Breaks when `cli/src/check/database.rs`: `} else if rights.seals {` → `} else if false {`.
#[tokio::test]
async fn a_login_with_too_many_rights_or_too_few_fails_and_the_sql_that_helps_is_printed() {
    let deployment = deployment().await;
    let url = |role| deployment.database.url_for(role);
    assert_fails(&deployment, &[("DATABASE_URL", &url(Role::Migrator))], "api rights").await;
    assert_fails(&deployment, &[("DATABASE_URL", &url(Role::Worker))], "api rights").await;
    assert_fails(&deployment, &[("DATABASE_URL", &url(Role::Auditor))], "api rights").await;
    assert_fails(&deployment, &[("WORKER_DATABASE_URL", &url(Role::Auditor))], "worker rights").await;
    assert_fails(&deployment, &[("WORKER_DATABASE_URL", &url(Role::Migrator))], "worker rights").await;
    // One user for all, as the guide has it: it starts, and this line is what is wrong with it.
    let one = url(Role::Migrator);
    let one = [("DATABASE_URL", one.as_str()), ("WORKER_DATABASE_URL", ""), ("DATABASE_MIGRATE_URL", "")];
    assert_fails(&deployment, &one, "api rights").await;
    let shown = deployment.run(&["check", "--deploy"], &deployment.with(&one)).await;
    assert!(shown.status == 1 && shown.out.contains("create role %I nologin"), "{shown:?}");
}

/// C063. Breaks when `cli/src/check/database.rs`: `server.synchronous_commit == "off"` → `false`.
#[tokio::test]
async fn a_database_that_forgets_or_is_not_migrated_fails() {
    let deployment = deployment().await;
    let owner = deployment.database.pool(Role::Migrator).await.unwrap();
    let name = deployment.database.name();
    let forget = sqlx::AssertSqlSafe(format!("alter database {name} set synchronous_commit = off"));
    sqlx::raw_sql(forget).execute(&owner).await.unwrap();
    assert_fails(&deployment, &[], "durability").await;
    let keep = sqlx::AssertSqlSafe(format!("alter database {name} reset synchronous_commit"));
    sqlx::raw_sql(keep).execute(&owner).await.unwrap();
    assert_good(&deployment).await;

    owner
        .execute("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .await
        .unwrap();
    let ran = deployment.check(&[]).await;
    assert_eq!((ran.status, ran.with_verdict("fail")), (1, vec!["migrations".to_owned()]), "{ran:?}");
    assert!(ran.note("migrations").contains("is not applied"), "{ran:?}");
}

#[tokio::test]
async fn an_old_backup_fails_and_a_log_file_leaves_nothing_behind() {
    let deployment = deployment().await;
    let stamp = std::fs::File::options().write(true).open(deployment.folder.join("backup.stamp")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a file's age counts by the machine's clock")]
    let long_ago = SystemTime::now() - Duration::from_hours(30);
    stamp.set_modified(long_ago).unwrap();
    let log = deployment.folder.join("service.log");
    assert_fails(&deployment, &[("LOG_FILE", log.to_str().unwrap())], "last backup").await;
    let left: Vec<_> = std::fs::read_dir(&deployment.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["backup.stamp"]);
}

/// C064. Breaks when `core/src/config/check/effective.rs`: `(true, true) => if from_file { "set, from a file" } else { "set" }.to_owned(),` → `(true, true) => environment.get(variable.name).map(shown).unwrap_or_default(),`.
#[tokio::test]
async fn the_settings_in_force_are_shown_without_secrets_and_suspects_named() {
    let deployment = deployment().await;
    let environment = deployment.with(&[("ALOWED_HOSTS", "x"), ("SESSIONS_MAX", "7")]);
    let ran = deployment.run(&["check"], &environment).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.out.contains("* SESSIONS_MAX") && ran.out.contains("is ALLOWED_HOSTS meant?"), "{}", ran.out);
    let database = &deployment.environment["DATABASE_URL"];
    for secret in [SECRET_KEY, JWT_SECRET_KEY, database, "4f1a2b3c4d5e"] {
        assert!(!ran.out.contains(secret));
    }
    let broken = deployment.run(&["check"], &deployment.with(&[("SESSIONS_MAX", "0"), ("JWT_SECRET_KEY", "")])).await;
    assert_eq!(broken.status, 2, "{broken:?}");
    assert!(broken.err.contains("SESSIONS_MAX") && broken.err.contains("JWT_SECRET_KEY"), "{broken:?}");
    let json = deployment.run(&["check", "--json"], &environment).await.json();
    let shown = json["settings"].as_array().unwrap().iter().find(|one| one["name"] == "SESSIONS_MAX").unwrap().clone();
    assert_eq!((shown["value"].as_str(), shown["given"].as_bool()), (Some("7"), Some(true)));
}
