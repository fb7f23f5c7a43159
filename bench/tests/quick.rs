//! The command itself, in its quick form: that it starts everything, measures both sides and writes what it has found.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_quick_run_measures_doorbook_and_its_floor_and_writes_both_down() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quick");
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbook-bench"));
    command
        .args(["--quick", "--only", "profile,append", "--accounts", "50", "--events", "999", "--results"])
        .arg(&folder);
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A goal may be missed, in this profile: 1. That something could not be measured would be 2.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{text}");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("bench.json")).unwrap()).unwrap();
    assert_eq!(json["errors"], Value::Array(vec![]), "{text}");
    for row in ["profile", "append"] {
        for side in ["doorbook", "floor"] {
            assert!(json["rows"][row][side]["rate"]["median"].as_f64().unwrap() > 0.0, "{row} of {side}: {text}");
        }
    }
    assert!(json["goals"].as_array().unwrap().iter().any(|goal| goal["met"].is_boolean()), "{text}");
    assert!(std::fs::read_to_string(folder.join("bench.svg")).unwrap().starts_with("<svg"), "{text}");
}

#[test]
fn a_service_on_another_machine_is_not_loaded_by_mistake() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/django/routes.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbook-bench"));
    command
        .args(["--quick", "--only", "live", "--accounts", "1", "--peer-base", "http://192.0.2.1:80", "--peer"])
        .arg(file);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("--allow-remote"), "{text}");
}
