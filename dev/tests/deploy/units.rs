//! The systemd units: read as text, and judged by systemd itself where it is installed.

use std::fs;
use std::process::Command;

use crate::common::{Folder, read, root};
use crate::compose::{drain_seconds, grace_seconds};

const UNITS: [&str; 3] = ["api", "worker", "migrate"];
/// Most exposure that `systemd-analyze security` may find, in tenths. It counts from 0 (none) to 100.
const EXPOSURE_MAX: &str = "20";

fn unit(name: &str) -> String {
    read(&format!("deploy/systemd/doorbook-{name}.service"))
}

fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.next().unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn the_units_start_our_programs_and_leave_them_time_to_stop() {
    for name in UNITS {
        let unit = unit(name);
        let start = value(&unit, "ExecStart");
        let program = start.strip_prefix("/usr/local/bin/").unwrap();
        let expected = if name == "migrate" { "doorbook migrate".to_owned() } else { format!("doorbook-{name}") };
        assert_eq!(program, expected);
        assert!(root().join(if name == "migrate" { "cli" } else { name }).join("src/main.rs").is_file());
        assert_eq!(value(&unit, "EnvironmentFile"), "/etc/doorbook/doorbook.env");
        for key in ["MemoryMax", "TasksMax"] {
            assert!(!value(&unit, key).is_empty(), "{name}: {key}");
        }
    }
    let seconds = |name: &str| value(&unit(name), "TimeoutStopSec").parse::<u64>().unwrap();
    assert!(seconds("api") > 2 * drain_seconds(), "the api is killed while it drains");
    assert!(seconds("worker") > grace_seconds(), "the worker is killed while its jobs end");
    assert_eq!(value(&unit("api"), "RestartPreventExitStatus"), "2", "wrong settings are not cured by starting again");
}

/// Breaks when `deploy/systemd/doorbook-api.service`: `Environment=ARGON2_CONCURRENCY=4` → `Environment=ARGON2_CONCURRENCY=8`.
#[test]
fn the_memory_of_the_api_s_unit_holds_its_hashes_however_many_cores_there_are() {
    let unit = unit("api");
    let hashes: u64 = value(&unit, "Environment=ARGON2_CONCURRENCY").parse().unwrap();
    let most: u64 = value(&unit, "MemoryMax").strip_suffix('M').unwrap().parse().unwrap();
    assert!(hashes * 100 + 256 <= most, "{hashes} hashes of 100 MiB and the process in {most} MiB");
}

#[test]
fn the_units_give_their_programs_no_more_than_they_need() {
    for name in UNITS {
        let unit = unit(name);
        for (key, wanted) in [
            ("DynamicUser", "yes"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateTmp", "yes"),
            ("PrivateDevices", "yes"),
            ("MemoryDenyWriteExecute", "yes"),
            ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
            ("SystemCallFilter", "@system-service"),
            ("LimitCORE", "0"),
        ] {
            assert_eq!(value(&unit, key), wanted, "{name}: {key}");
        }
    }
}

/// Where systemd is not installed, its own judgement is missing, and the test says so: what stands above holds all the same.
#[test]
fn systemd_understands_the_units_and_finds_little_exposed() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not installed: the units are not judged by it");
        return;
    }
    let folder = Folder::new("units");
    for name in UNITS {
        let path = folder.0.join(format!("doorbook-{name}.service"));
        // `verify` asks for a program that is there.
        let unit = unit(name);
        let program = value(&unit, "ExecStart").split(' ').next().unwrap();
        fs::write(&path, unit.replace(program, "/bin/true")).unwrap();
        for arguments in [vec!["verify"], vec!["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX]]
        {
            let output = Command::new("systemd-analyze").args(&arguments).arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {arguments:?}\n{said}");
            assert!(arguments[0] != "verify" || output.stderr.is_empty(), "{name}: {said}");
        }
    }
}
