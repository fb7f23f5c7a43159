//! The black-box tests of the api, once more behind the pooler.

use std::process::Command;

/// What stands for the suite at the small dose: reads and writes of every kind, races among them.
const REPRESENTATIVE: [&str; 3] = ["sessions::", "profile::", "passwords::"];

/// C111. The whole suite at the full dose, each test of it at its small one.
#[test]
fn the_tests_over_http_pass_behind_a_pooler() {
    let is_full = std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full");
    let filters: &[&str] = if is_full { &[] } else { &REPRESENTATIVE };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        // With the features of the whole workspace, as it was built for these tests.
        .args(["test", "--workspace", "--test", "http", "--"])
        .args(filters)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("DOORBOOK_POOLER", "transaction")
        .env_remove("DOORBOOK_DOSE")
        .env_remove("CARGO_MANIFEST_DIR")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    let result = text.lines().find(|line| line.starts_with("test result: ok.")).unwrap();
    assert!(!result.contains(" 0 passed"), "{text}");
    println!("figure: {result}");
}
