//! `cargo full -- ID`, or the name of a test: the whole dose of a check, with a dated result under `docs/results`; `cargo full -- mutants`: proof that
//! the tests notice the change each of them names.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::advisories::today;
use crate::checks::{self, Check, Mutation, ROOT};
use crate::prepare::cargo;

/// Runs the tests of one id, or the one of this name, at the full dose and writes the result down.
pub fn full(id: &str) -> Result<()> {
    let is_meant = |check: &Check| check.ids.iter().any(|own| own == id) || check.test == id;
    let checks: Vec<Check> = checks::all(Path::new(ROOT))?.into_iter().filter(is_meant).collect();
    ensure!(!checks.is_empty(), "no test belongs to {id}");
    let date = today()?;
    let mut report = format!("# {id}, {date}\n\nThe whole dose (`cargo full -- {id}`).\n\n");
    let mut failed = false;
    for check in &checks {
        let started = Instant::now();
        let (passed, output) = run(check, Path::new(ROOT), None)?;
        failed |= !passed;
        let outcome = if passed { "passed" } else { "FAILED" };
        let profile = if check.release { "release" } else { "dev" };
        let line =
            format!("- {outcome} `{}` in {:.1} s, {profile} profile\n", check.test, started.elapsed().as_secs_f64());
        print!("{line}");
        report.push_str(&line);
        // What a test measured, it prints in lines of this form.
        for figure in output.lines().filter_map(|line| line.trim().strip_prefix("figure: ")) {
            println!("    {figure}");
            report.push_str("  - ");
            report.push_str(figure);
            report.push('\n');
        }
    }
    write_down(&date, id.rsplit("::").next().unwrap_or(id), &report)?;
    if failed {
        bail!("{id} failed");
    }
    Ok(())
}

/// Keeps a dated result.
fn write_down(date: &str, name: &str, report: &str) -> Result<()> {
    let folder = Path::new(ROOT).join("docs/results");
    fs::create_dir_all(&folder).context("cannot make docs/results")?;
    let path = folder.join(format!("{date}-{name}.md"));
    fs::write(&path, report).with_context(|| format!("cannot write {}", path.display()))
}

/// Applies every named change to a copy of the checkout, one at a time, and expects its test to fail. As many copies are at work as
/// there are cores. A run over all of them is written down.
pub fn mutants(filter: Option<&str>) -> Result<()> {
    let is_asked_for = |check: &Check| {
        filter.is_none_or(|filter| check.test.contains(filter) || check.ids.iter().any(|id| id == filter))
    };
    let asked: Vec<Check> = checks::all(Path::new(ROOT))?.into_iter().filter(is_asked_for).collect();
    let mutations: Vec<(&Check, &Mutation)> =
        asked.iter().filter_map(|check| Some((check, check.mutation.as_ref()?))).collect();
    let count = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(mutations.len().max(1));
    let copies: Vec<Copy> = (0..count).map(Copy::make).collect::<Result<_>>()?;
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        let work = |copy: &Copy| -> Result<()> {
            while let Some((check, mutation)) = mutations.get(next.fetch_add(1, Ordering::Relaxed)) {
                let is_caught = copy.catches(check, mutation)?;
                println!("{}", line(check, mutation, is_caught));
                let place = (&check.package, &check.target, &check.test);
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(place, (*check, *mutation, is_caught));
            }
            Ok(())
        };
        let working: Vec<_> = copies.iter().map(|copy| scope.spawn(move || work(copy))).collect();
        working.into_iter().try_for_each(|copy| copy.join().map_err(|_| anyhow!("a copy's thread panicked"))?)
    })?;
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missed: Vec<&str> = outcomes.values().filter(|(.., caught)| !caught).map(|(check, ..)| &*check.test).collect();
    let sum = format!("{} caught, {} missed", outcomes.len() - missed.len(), missed.len());
    println!("{sum}");
    if filter.is_none() {
        let date = today()?;
        let mut report = format!(
            "# Changes that the tests must notice, {date}\n\n`cargo full -- mutants`, small dose, dev profile.\n\n"
        );
        for (check, mutation, is_caught) in outcomes.values() {
            report.extend(["- ", &line(check, mutation, *is_caught), "\n"]);
        }
        write_down(&date, "mutants", &format!("{report}\n{sum}\n"))?;
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

fn line(check: &Check, mutation: &Mutation, is_caught: bool) -> String {
    if is_caught {
        format!("caught  {} {}", check.target, check.test)
    } else {
        format!("MISSED  {} {}: {} → {}", check.target, check.test, mutation.old, mutation.new)
    }
}

/// Runs one test; whether it passed, and what it printed.
fn run(check: &Check, root: &Path, target: Option<&Path>) -> Result<(bool, String)> {
    let mut command = Command::new(cargo());
    command.arg("test");
    // Servers are built in the profile of the test that starts them. Whether a change is noticed is no question of speed.
    if check.release && target.is_none() {
        command.arg("--release");
    }
    command
        .args(["--package", &check.package, "--test", &check.target, "--", "--exact", &check.test, "--nocapture"])
        .current_dir(root)
        .env_remove("DATABASE_URL")
        .env_remove("CARGO_MANIFEST_DIR")
        .stdin(Stdio::null());
    match target {
        // A changed program may do what its author never wanted: the small dose is enough to notice.
        Some(target) => command.env("CARGO_TARGET_DIR", target),
        None => command.env("DOORBOOK_DOSE", "full"),
    };
    let output = command.output().context("cannot run cargo")?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ran = text.contains("1 passed") || text.contains("1 failed");
    ensure!(ran || !output.status.success(), "{} was not run", check.test);
    Ok((output.status.success(), text))
}

/// A checkout of what is committed, below `target`, kept for its built dependencies.
struct Copy(PathBuf);

impl Copy {
    fn make(number: usize) -> Result<Self> {
        let path = Path::new(ROOT).join(format!("target/mutants-{number}"));
        git(Path::new(ROOT), &["worktree", "prune"])?;
        if path.join(".git").exists() {
            let head = git(Path::new(ROOT), &["rev-parse", "HEAD"])?;
            git(&path, &["checkout", "--quiet", "--force", "--detach", head.trim()])?;
        } else {
            git(Path::new(ROOT), &["worktree", "add", "--quiet", "--detach", &path.to_string_lossy()])?;
        }
        Ok(Self(path.canonicalize().context("cannot find the copy")?))
    }

    /// Whether the test fails with the change. A change that does not compile proves nothing about the test.
    fn catches(&self, check: &Check, mutation: &Mutation) -> Result<bool> {
        let path = self.0.join(&mutation.file);
        let original = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(original.matches(&mutation.old).count() == 1, "{}: the place to change is not there once", check.test);
        fs::write(&path, original.replace(&mutation.old, &mutation.new)).context("cannot write a copy")?;
        let outcome = run(check, &self.0, Some(&self.0.join("target")));
        fs::write(&path, &original).context("cannot write a copy")?;
        let (passed, output) = outcome?;
        Ok(!passed && output.contains("test result: FAILED"))
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(folder).output().context("cannot run git")?;
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
