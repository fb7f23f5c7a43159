//! Schemathesis, which asks a service everything that its OpenAPI document allows and forbids. A Python program: it lives in an
//! environment of its own below the target folder, in exactly the versions of `dev/schemathesis/requirements.txt`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::checks::ROOT;
use crate::python;

/// What a run asked and found.
#[derive(Debug)]
pub struct Outcome {
    pub passed: bool,
    /// Requests that were made.
    pub cases: u64,
    /// What it printed.
    pub output: String,
}

/// How a run is done.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Like `http://127.0.0.1:8000`.
    pub base: &'a str,
    /// E-mail and password to log in with, a space between; `None` asks as a stranger.
    pub account: Option<&'a str>,
    /// Cases of each operation, in each phase that makes them up.
    pub examples: u32,
    /// The same seed asks the same.
    pub seed: u32,
}

/// Asks the service at `plan.base`, by all checks and in all phases, the sequences along the document's links too.
pub async fn run(plan: Plan<'_>) -> Result<Outcome> {
    let programs = python::environment("schemathesis", "dev/schemathesis/requirements.txt").await?;
    let folder = Path::new(ROOT).join("dev/schemathesis");
    let mut command = Command::new(programs.join("schemathesis"));
    // One worker: parsers of some Pythons fail when two threads are in them.
    command
        .args(["--config-file", "schemathesis.toml", "run", &format!("{}/api/openapi.json", plan.base)])
        .args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--workers", "1"])
        .args(["--max-examples", &plan.examples.to_string(), "--seed", &plan.seed.to_string()])
        .args(["--continue-on-failure", "--suppress-health-check", "all", "--no-color"])
        .current_dir(&folder)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DOORBOOK_BASE", plan.base)
        .env_remove("DOORBOOK_ACCOUNT")
        .envs(plan.account.map(|account| ("DOORBOOK_ACCOUNT", account)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.context("cannot run schemathesis")?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok(Outcome { passed: output.status.success(), cases: cases(&text), output: text })
}

/// The number in `Test cases:\n  4823 generated, …`.
fn cases(output: &str) -> u64 {
    let after = output.rsplit_once("Test cases:").map_or("", |(_, after)| after);
    after.split_whitespace().next().and_then(|number| number.replace(',', "").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::cases;

    #[test]
    fn the_number_of_cases_is_read_from_the_summary() {
        assert_eq!(cases("…\nTest cases:\n  4823 generated, 4823 passed, 190 skipped\n"), 4823);
        assert_eq!(cases("nothing of the kind"), 0);
    }
}
