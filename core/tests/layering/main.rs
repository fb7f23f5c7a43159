//! Who may import what, read from the sources: a forbidden import fails here and not in a review.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod paths;
mod rules;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};

use paths::names;
use rules::{PACKAGES, RULES};

/// Longest source file, in lines. Source: design.
const LINES_MAX: usize = 400;

struct Source {
    /// From the workspace's root, with `/`.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every `.rs` file below `folder` of each package.
fn sources(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for package in PACKAGES {
        collect(&root().join(package).join(folder), &mut sources);
    }
    sources
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            sources.push(Source { path: relative, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

#[test]
fn every_package_is_read() {
    let sources = sources("src");
    for package in PACKAGES {
        assert!(sources.iter().any(|source| source.path.starts_with(&format!("{package}/src/"))), "{package}");
    }
}

#[test]
fn no_source_imports_what_its_place_forbids() {
    let mut broken = Vec::new();
    for source in sources("src") {
        let names = names(&source.text);
        for rule in RULES {
            broken.extend(
                rule.broken_by(&source.path, &names)
                    .map(|path| format!("{} names {path}: {}", source.path, rule.about)),
            );
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_rule_refuses_what_it_is_for_and_allows_the_place_it_names() {
    for rule in RULES {
        let broken = |(path, text): (&str, &str)| rule.broken_by(path, &names(text)).count();
        assert_eq!(broken(rule.refused), 1, "refused: {}", rule.about);
        assert_eq!(broken(rule.allowed), 0, "allowed: {}", rule.about);
    }
}

#[test]
fn no_source_file_is_longer_than_one_can_read() {
    let long: Vec<String> = sources("")
        .into_iter()
        .filter(|source| !source.path.contains("/target/"))
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{path} has {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
