//! `cargo full -- ID`, or the name of a test: the whole dose of a check, with a dated result under `docs/results`; `cargo full -- mutants`: proof that
//! the tests notice the change each of them names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::advisories::today;
use crate::checks::{self, Check, ROOT};
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

/// Applies every named change to a copy of the checkout, one at a time, and expects its test to fail. A run over all of them is
/// written down.
pub fn mutants(filter: Option<&str>) -> Result<()> {
    let copy = Copy::make()?;
    let date = today()?;
    let mut report = format!(
        "# Changes that the tests must notice, {date}\n\n`cargo full -- mutants`, small dose, dev profile.\n\n"
    );
    let (mut caught, mut missed) = (0_u32, Vec::new());
    for check in checks::all(Path::new(ROOT))? {
        let Some(mutation) = check.mutation.clone() else { continue };
        if filter.is_some_and(|filter| !check.test.contains(filter) && !check.ids.iter().any(|id| id == filter)) {
            continue;
        }
        let path = copy.0.join(&mutation.file);
        let original = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(original.matches(&mutation.old).count() == 1, "{}: the place to change is not there once", check.test);
        fs::write(&path, original.replace(&mutation.old, &mutation.new)).context("cannot write a copy")?;
        let (passed, output) = run(&check, &copy.0, Some(&copy.0.join("target")))?;
        fs::write(&path, &original).context("cannot write a copy")?;
        // A change that does not compile proves nothing about the test.
        let line = if !passed && output.contains("test result: FAILED") {
            caught += 1;
            format!("caught  {}", check.test)
        } else {
            let line = format!("MISSED  {}: {} → {}", check.test, mutation.old, mutation.new);
            missed.push(check.test);
            line
        };
        println!("{line}");
        report.push_str("- ");
        report.push_str(&line);
        report.push('\n');
    }
    let sum = format!("{caught} caught, {} missed", missed.len());
    println!("{sum}");
    if filter.is_none() {
        write_down(&date, "mutants", &format!("{report}\n{sum}\n"))?;
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
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
    fn make() -> Result<Self> {
        let path = Path::new(ROOT).join("target/mutants");
        git(Path::new(ROOT), &["worktree", "prune"])?;
        if path.join(".git").exists() {
            let head = git(Path::new(ROOT), &["rev-parse", "HEAD"])?;
            git(&path, &["checkout", "--quiet", "--force", "--detach", head.trim()])?;
        } else {
            git(Path::new(ROOT), &["worktree", "add", "--quiet", "--detach", &path.to_string_lossy()])?;
        }
        Ok(Self(path.canonicalize().context("cannot find the copy")?))
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(folder).output().context("cannot run git")?;
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
