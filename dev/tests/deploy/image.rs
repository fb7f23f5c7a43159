//! The Dockerfile, read as text: nothing here builds an image.

use std::path::Path;

use crate::common::{read, root};

/// One instruction: its word and what stands behind it, continuation lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile");
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let instruction = |line: &str| {
        let (word, rest) = line.trim().split_once(' ')?;
        Some((word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    joined.lines().filter_map(instruction).collect()
}

/// The instructions of the stage that is shipped.
fn shipped() -> Vec<(String, String)> {
    let all = instructions();
    let last = all.iter().rposition(|(word, _)| word == "FROM").unwrap();
    all[last..].to_vec()
}

fn of<'a>(instructions: &'a [(String, String)], wanted: &str) -> Vec<&'a str> {
    instructions.iter().filter(|(word, _)| word == wanted).map(|(_, rest)| rest.as_str()).collect()
}

#[test]
fn the_image_is_built_in_one_stage_and_shipped_in_another_both_of_a_version() {
    let all = instructions();
    let stages = of(&all, "FROM");
    assert_eq!(stages.len(), 2);
    for stage in &stages {
        let (_, tag) = stage.split(' ').next().unwrap().rsplit_once(':').unwrap();
        let version = tag.split('-').next().unwrap();
        assert!(version.split('.').count() >= 2 && version.starts_with(|c: char| c.is_ascii_digit()), "{stage}");
    }
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("rust-version = \"").unwrap();
    let version = rest.split('"').next().unwrap();
    assert!(stages[0].starts_with(&format!("rust:{version}.")), "{} and {version}", stages[0]);
    // Both from one Debian: the programs want the C library that they were built with.
    assert!(stages[0].contains("-bookworm ") && stages[1].starts_with("debian:12."), "{stages:?}");
}

#[test]
fn the_image_runs_as_nobody_and_holds_three_programs_and_no_secret() {
    let shipped = shipped();
    let users = of(&shipped, "USER");
    assert!(
        users.len() == 1 && users[0].split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id >= 1_000)),
        "{users:?}"
    );
    assert!(of(&shipped, "RUN").is_empty() && of(&shipped, "ADD").is_empty(), "nothing is run or fetched into it");
    assert!(of(&shipped, "ENV").is_empty() && of(&shipped, "ARG").is_empty(), "settings come from outside");
    let text = read("Dockerfile");
    for word in ["SECRET_KEY", "PASSWORD", "_URL=", "doorbook-dev", "--workspace", "--features", "curl ", "wget "] {
        assert!(!text.contains(word), "{word}");
    }
    let builds = instructions();
    let build = of(&builds, "RUN").into_iter().find(|run| run.contains("cargo build")).unwrap();
    assert!(build.contains("--release --locked -p doorbook-api -p doorbook-worker -p doorbook-cli &&"), "{build}");
    assert_eq!(of(&shipped, "CMD"), [r#"["doorbook-api"]"#]);
    let check = of(&shipped, "HEALTHCHECK")[0];
    assert!(check.ends_with(r#"CMD ["doorbook", "health", "http://127.0.0.1:8000/health/live"]"#), "{check}");
}

#[test]
fn what_the_image_is_made_of_exists_is_sent_to_the_build_and_is_the_whole_workspace() {
    let ignore = read(".dockerignore");
    assert!(ignore.lines().any(|line| line == "*"), "nothing is sent unless it is named");
    let all = instructions();
    let mut copied = Vec::new();
    for copy in of(&all, "COPY").into_iter().filter(|copy| !copy.starts_with("--from=")) {
        let paths: Vec<_> = copy.split(' ').collect();
        copied.extend(paths[..paths.len() - 1].iter().copied());
    }
    for path in &copied {
        assert!(root().join(path).exists(), "{path}");
        assert!(ignore.lines().any(|line| line == format!("!{path}")), "{path} is not sent to the build");
    }
    let manifest = read("Cargo.toml");
    let (_, members) = manifest.split_once("members = [").unwrap();
    for member in members.split(']').next().unwrap().split(", ").map(|member| member.trim_matches('"')) {
        let manifest = format!("{member}/Cargo.toml");
        assert!(copied.contains(&member) || copied.contains(&manifest.as_str()), "{member}");
    }
    for kept_out in [".env", ".git", "secrets", "target", ".dev", "dev"] {
        assert!(!ignore.lines().any(|line| line == format!("!{kept_out}")), "{kept_out}");
        assert!(!copied.iter().any(|path| Path::new(path) == Path::new(kept_out)), "{kept_out}");
    }
}
