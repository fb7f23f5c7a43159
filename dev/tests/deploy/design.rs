//! `docs/SECURITY-DESIGN.md` against the code: what the code has and the document does not name is a fault.

use std::collections::BTreeSet;

use doorbook_core::config::registry;
use doorbook_core::store::columns::TABLES;

use crate::common::{is_test_name, quoted, read, released, rows, section};

const DOCUMENT: &str = "docs/SECURITY-DESIGN.md";

/// Sections that the document must have, each with something in it.
const SECTIONS: [&str; 14] = [
    "## Data",
    "### Access token",
    "### Logs",
    "## Cryptography",
    "### Key policy",
    "### After quantum computers",
    "## Limits on guesses",
    "### Why nobody can lock an owner out",
    "## Who may do what",
    "## Connections to others",
    "## Dangerous functions",
    "### Dependencies that carry risk",
    "## OWASP Top 10",
    "## What remains",
];
/// What a source that uses cryptography names.
const CRYPTOGRAPHY: [&str; 8] =
    ["aws_lc_rs::", "argon2::", "bcrypt::", "scrypt::", "jsonwebtoken::", "subtle::", "rustls", "RandomState"];

fn part(heading: &str) -> String {
    let document = read(DOCUMENT);
    section(&document, heading).unwrap_or_else(|| panic!("no section {heading}")).to_owned()
}

fn names(text: &str) -> BTreeSet<String> {
    quoted(text).into_iter().map(str::to_owned).collect()
}

/// C066. Breaks when `docs/SECURITY-DESIGN.md`: `### After quantum computers` → `### Later`.
#[test]
fn the_design_has_every_section_that_a_reviewer_asks_for() {
    for heading in SECTIONS {
        assert!(part(heading).split_whitespace().count() >= 30, "{heading} says too little");
    }
}

/// C066. Breaks when `core/src/store/columns.rs`: `"password_changed_at",` → `"password_changed_at", "shoe_size",`.
#[test]
fn every_column_of_every_table_is_classified() {
    let rows = rows(&part("## Data"));
    let mut missing = Vec::new();
    for table in TABLES {
        let classified: BTreeSet<_> =
            rows.iter().filter(|row| names(&row[0]).contains(table.name)).flat_map(|row| names(&row[1])).collect();
        let columns = table.derived.iter().chain(table.kept.iter().flat_map(|kept| kept.columns));
        missing.extend(columns.filter(|column| !classified.contains(**column)).map(|column| (table.name, *column)));
    }
    assert!(missing.is_empty(), "in no row of the data inventory: {missing:?}");
}

/// C066. Breaks when `core/src/job.rs`: `use std::time::Duration;` → `use std::time::Duration; // subtle::`.
#[test]
fn every_source_that_uses_cryptography_is_in_the_inventory() {
    let inventory = names(&part("## Cryptography"));
    let uses = |file: &String| {
        let text = read(file);
        CRYPTOGRAPHY.iter().any(|name| text.contains(name))
    };
    let missing: Vec<_> = released()
        .into_iter()
        .filter(|file| !file.ends_with("_tests.rs") && uses(file) && !inventory.contains(file))
        .collect();
    assert!(missing.is_empty(), "they use cryptography and are not in the inventory: {missing:?}");
}

/// C066. Breaks when `core/src/token/keys.rs`: `b"doorbook/cursor/v1"` → `b"doorbook/cursor/v2"`.
#[test]
fn every_derived_key_is_in_the_inventory() {
    let inventory = names(&part("## Cryptography"));
    let mut labels = 0;
    for file in released() {
        for label in read(&file).split("b\"doorbook/").skip(1).filter_map(|rest| rest.split(['"', '\\']).next()) {
            labels += 1;
            assert!(inventory.contains(&format!("doorbook/{label}")), "{file}: doorbook/{label}");
        }
    }
    assert!(labels >= 10, "only {labels} labels were found");
}

/// C066. Breaks when `openapi/doorbook.v1.yaml`: `"/api/auth/logout/all/":` → `"/api/auth/logout/most/":`.
#[test]
fn every_route_is_in_the_authorization_matrix() {
    let matrix = rows(&part("## Who may do what"));
    let listed: BTreeSet<_> = matrix.iter().flat_map(|row| names(&row[0])).collect();
    let mut path = String::new();
    let mut missing = Vec::new();
    let mut routes = 0;
    for line in read("openapi/doorbook.v1.yaml").lines() {
        if let Some(rest) = line.strip_prefix("  \"/") {
            path = format!("/{}", rest.trim_end_matches("\":"));
        } else if let Some(method) = line.strip_prefix("    ").and_then(|rest| rest.strip_suffix(':'))
            && ["get", "post", "put", "patch", "delete"].contains(&method)
        {
            routes += 1;
            let route = format!("{} {path}", method.to_uppercase());
            missing.extend((!listed.contains(&route)).then_some(route));
        }
    }
    assert!(routes >= 20, "only {routes} routes were found");
    assert!(missing.is_empty(), "in no row of the matrix: {missing:?}");
    for row in matrix {
        assert_eq!(row.len(), 6, "{row:?}");
    }
}

/// C066. Breaks when `docs/SECURITY-DESIGN.md`: `| `REDIS_URL` | worker |` → `| its address | worker |`.
#[test]
fn every_setting_that_names_another_machine_is_among_the_connections() {
    let connections = names(&part("## Connections to others"));
    let ours = ["FRONTEND_URL", "ALLOWED_HOSTS"];
    let elsewhere = ["_URL", "_HOST", "_DSN", "_ENDPOINT", "_SINK"];
    for variable in registry::ALL {
        let name = variable.name;
        if elsewhere.iter().any(|end| name.ends_with(end)) && !ours.contains(&name) {
            assert!(connections.contains(name), "{name}");
        }
    }
}

/// C066. Breaks when `core/src/service/refresh.rs`: `target: "authentication", session` → `target: "refreshing", session`.
#[test]
fn every_kind_of_log_line_is_in_the_log_inventory() {
    let logs = names(&part("### Logs"));
    let mut targets = 0;
    for file in released() {
        let text = read(&file);
        for target in text.split("target: \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            // Their filter is tested with a library's name.
            if target.starts_with("hyper") {
                continue;
            }
            targets += 1;
            assert!(logs.contains(target), "{file}: {target}");
        }
    }
    assert!(targets >= 3, "only {targets} were found");
}

/// C066. Breaks when `docs/SECURITY-DESIGN.md`: `A10 | Mishandling` → `A11 | Mishandling`.
#[test]
fn each_of_the_ten_names_what_proves_its_answer() {
    for (edition, rows) in ["### 2021", "### 2025"].map(|heading| (heading, rows(&part(heading)))) {
        assert_eq!(rows.len(), 10, "{edition}");
        for (place, row) in rows.iter().enumerate() {
            assert_eq!(row[0], format!("A{:02}", place + 1), "{edition}");
            let proofs = quoted(row.last().unwrap()).into_iter().filter(|word| is_test_name(word)).count();
            assert!(proofs >= 1, "{edition}: {} names no test", row[0]);
        }
    }
}

/// C066. Breaks when `api/src/routes/mod.rs`: `//! The documented routes, one file a resource.` → `//! Routes. #[cfg(feature = "test-routes")]`.
#[test]
fn nothing_of_a_release_is_switched_on_for_tests_but_failpoints_and_they_are_in_no_program() {
    for file in released() {
        let text = read(&file);
        for feature in text.split("feature = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert_eq!(feature, "failpoints", "{file}");
        }
    }
    for package in ["api", "worker", "cli"] {
        let manifest = read(&format!("{package}/Cargo.toml"));
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
        assert!(!dependencies.contains("failpoints") && !dependencies.contains("doorbook-dev"), "{package}");
    }
}
