//! What comes into a build.

use std::fs;
use std::path::Path;
use std::process::Command;

use doorbook_dev::advisories;
use doorbook_dev::checks::ROOT;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).expect("a file of the checkout")
}

/// C074. Breaks when `deny.toml`: `unknown-git = "deny"` → `unknown-git = "allow"`.
#[test]
fn everything_comes_from_one_registry_at_a_locked_version_and_exceptions_end() {
    let lock = read("Cargo.lock");
    let ours = ["api", "bench", "cli", "core", "dev", "faults", "mail", "worker"]
        .map(|name| format!("name = \"doorbook-{name}\""));
    for package in lock.split("[[package]]").skip(1) {
        let registry = package.contains("source = \"registry+https://github.com/rust-lang/crates.io-index\"");
        let checked = package.contains("checksum = ");
        assert!(registry && checked || ours.iter().any(|name| package.contains(name)), "{package}");
    }
    let tracked = Command::new("git").args(["ls-files", "Cargo.lock"]).current_dir(ROOT).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tracked.stdout).trim(), "Cargo.lock", "the lock file is committed");
    let rules = read("deny.toml");
    for rule in [
        "unknown-registry = \"deny\"",
        "unknown-git = \"deny\"",
        "allow-git = []",
        "yanked = \"deny\"",
        "wildcards = \"deny\"",
    ] {
        assert!(rules.contains(rule), "{rule}");
    }
    let exceptions = advisories::exceptions().unwrap();
    assert!(exceptions.iter().all(|(_, until)| until.as_str() < "2028"), "{exceptions:?}");
}

/// The reason of the exceptions for quick-xml.
#[test]
fn no_route_takes_or_gives_xml() {
    assert!(!read("openapi/doorbook.v1.yaml").to_lowercase().contains("xml"));
}

/// Says that nothing was checked where there is no database; a phase of the checks of a change says it too.
#[test]
fn advisories_are_checked_where_a_database_is_named() {
    advisories::check().unwrap();
}
