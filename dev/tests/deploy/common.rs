//! Files of the checkout, and the parts of documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Rust files below `folder`, as paths from the root.
pub fn sources(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
        if root().join(&path).is_dir() {
            files.extend(sources(&path));
        } else if Path::new(&path).extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Rust files of what is released, without tests.
pub fn released() -> Vec<String> {
    ["core/src", "mail/src", "api/src", "worker/src", "cli/src"].iter().flat_map(|folder| sources(folder)).collect()
}

/// Names of all test functions of the checkout.
pub fn test_names() -> BTreeSet<String> {
    let folders = ["core", "mail", "api", "worker", "cli", "dev", "bench", "bench/faults"];
    let below = folders.iter().flat_map(|package| [format!("{package}/src"), format!("{package}/tests")]);
    let mut names = BTreeSet::new();
    for file in below.filter(|folder| root().join(folder).is_dir()).flat_map(|folder| sources(&folder)) {
        let mut is_test = false;
        for line in read(&file).lines().map(str::trim) {
            if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if is_test && let Some((_, rest)) = line.split_once("fn ") {
                names.extend(rest.split_once('(').map(|(name, _)| name.to_owned()));
                is_test = false;
            }
        }
    }
    names
}

/// The text between a heading that says exactly this and the next one of its level or above.
pub fn section<'a>(document: &'a str, heading: &str) -> Option<&'a str> {
    let level = heading.chars().take_while(|character| *character == '#').count();
    let start = document.find(&format!("\n{heading}\n"))? + heading.len() + 2;
    let rest = &document[start..];
    let ends = (1..=level).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level))));
    Some(&rest[..ends.min().unwrap_or(rest.len())])
}

/// Cells of every row of every table in a text, heads and rules left out.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut in_body = false;
    for line in text.lines() {
        let Some(inner) = line.strip_prefix("| ").or_else(|| line.strip_prefix("|-")) else {
            in_body = false;
            continue;
        };
        if inner.trim_start_matches(['-', '|', ' ']).is_empty() {
            in_body = true;
        } else if in_body {
            let cells = inner.trim_end().trim_end_matches('|').split(" | ");
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    rows
}

/// What stands between backticks.
pub fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Whether a quoted word can only be the name of a test: tests are sentences.
pub fn is_test_name(word: &str) -> bool {
    // Metrics look alike, but for their first word.
    word.matches('_').count() >= 3
        && !word.starts_with("doorbook_")
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The shell block behind a marker `<!-- tested: NAME -->`.
pub fn recipe(document: &str, name: &str) -> String {
    let (_, rest) = read(document).split_once(&format!("<!-- tested: {name} -->\n")).map_or_else(
        || panic!("{document} has no recipe {name}"),
        |(before, rest)| (before.to_owned(), rest.to_owned()),
    );
    let block = rest.strip_prefix("```sh\n").and_then(|rest| rest.split_once("\n```"));
    block.unwrap_or_else(|| panic!("{name} is no shell block")).0.to_owned()
}

/// Runs a recipe in a folder; it must succeed.
pub fn run_recipe(script: &str, folder: &Path, environment: &[(&str, &str)]) {
    let output =
        Command::new("sh").args(["-euc", script]).current_dir(folder).envs(environment.iter().copied()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A folder that is removed with its value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("doorbook-deploy-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
