//! `cargo full -- ID`, or the name of a test: the whole dose of a check, with a dated result under `docs/results`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::advisories::today;
use crate::checks::{self, Check, LIB, ROOT};
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
        if !passed {
            // A fault that is rare must not be lost with the run that had it.
            eprintln!("{output}");
        }
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

/// Keeps a dated result, behind what the same day has had before: a run that failed must not disappear under one that passed.
fn write_down(date: &str, name: &str, report: &str) -> Result<()> {
    let folder = Path::new(ROOT).join("docs/results");
    fs::create_dir_all(&folder).context("cannot make docs/results")?;
    let path = folder.join(format!("{date}-{name}.md"));
    let earlier = match fs::read_to_string(&path) {
        Ok(earlier) => earlier + "\n",
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    fs::write(&path, earlier + report).with_context(|| format!("cannot write {}", path.display()))
}

/// Runs one test; whether it passed, and what it printed.
pub(crate) fn run(check: &Check, root: &Path, target: Option<&Path>) -> Result<(bool, String)> {
    let mut command = Command::new(cargo());
    command.arg("test");
    // Servers are built in the profile of the test that starts them. Whether a change is noticed is no question of speed.
    if check.release && target.is_none() {
        command.arg("--release");
    }
    command.args(["--package", &check.package]);
    if check.target == LIB {
        command.args(["--lib", "--", &check.test]);
    } else {
        command.args(["--test", &check.target, "--", "--exact", &check.test]);
    }
    command
        .arg("--nocapture")
        // What takes minutes at any dose is run by its name alone.
        .arg("--include-ignored")
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
