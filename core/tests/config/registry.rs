//! The registry is complete: all of it is read, and `.env.example` is made of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use doorbook_core::config::{env_example, registry};

use crate::support::{PRODUCTION, load};

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn example_path() -> PathBuf {
    package().join("../.env.example")
}

#[test]
fn each_variable_is_read_somewhere() {
    let sources: String = std::fs::read_dir(package().join("src/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "registry.rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let words: BTreeSet<_> = sources.split(|other: char| !other.is_ascii_alphanumeric() && other != '_').collect();
    for variable in registry::ALL {
        assert!(words.contains(variable.name), "{} is in the registry and nothing reads it", variable.name);
    }
}

#[test]
fn no_variable_is_listed_twice() {
    let names: BTreeSet<_> = registry::ALL.iter().map(|variable| variable.name).collect();
    assert_eq!(names.len(), registry::ALL.len());
}

#[test]
fn the_example_file_is_up_to_date() {
    let written = std::fs::read_to_string(example_path()).unwrap();
    assert!(
        written == env_example(),
        "run `cargo test -p doorbook-core --test config -- --ignored` to write .env.example anew"
    );
}

#[test]
#[ignore = "writes .env.example; run by name when the registry has changed"]
fn write_the_example_file() {
    std::fs::write(example_path(), env_example()).unwrap();
}

#[test]
fn the_example_file_leaves_open_what_production_needs_and_sets_nothing_else() {
    let example = env_example();
    let set: Vec<_> = example.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let expected = [
        "SECRET_KEY=",
        "JWT_SECRET_KEY=",
        "DATABASE_URL=",
        "EMAIL_HOST=",
        "DEFAULT_FROM_EMAIL=",
        "FRONTEND_URL=",
        "ALLOWED_HOSTS=",
    ];
    assert_eq!(set, expected);
    for variable in registry::ALL {
        assert!(example.contains(&format!("{}=", variable.name)), "{}", variable.name);
    }
}

#[test]
fn what_the_example_file_shows_as_default_is_accepted_as_a_value() {
    let example = env_example();
    let defaults = example.lines().filter_map(|line| line.strip_prefix("# ")?.split_once('='));
    let given = defaults.filter(|(name, value)| {
        let is_variable = registry::ALL.iter().any(|variable| variable.name == *name);
        is_variable && !value.is_empty() && !value.starts_with(" # [")
    });
    let pairs: Vec<_> = PRODUCTION.into_iter().chain(given).collect();
    assert!(pairs.len() > 50);
    load(&pairs).unwrap();
}
