//! `cargo full -- mutants`: proof that the tests notice the change each of them names. Every change is applied to a copy of the
//! checkout, one at a time, and its test must fail.
//!
//! `docs/results/mutants.md` keeps what is proven, with the contents of the changed file and of the test it was proven for. A run does
//! what is missing there, so that one that was broken off goes on where it ended, and a change of the code asks for its own proofs
//! again and for no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::advisories::today;
use crate::checks::{self, Check, Mutation, ROOT};
use crate::full::run;
use crate::prepare::{describe, migrated};

const BOOK: &str = "docs/results/mutants.md";
const HEAD: &str = "# Changes that the tests must notice\n\n\
    `cargo full -- mutants`, small dose, dev profile: the outcome, its day, the test, and the contents of the changed file and of the\n\
    test's file that it was proven for. Since 28 November every test must also pass without its change, just before.\n\n";
/// Changes whose tests are run without them one after another: between with and without, everything is built anew.
const BATCH: usize = 24;
/// What the `query!` macros say of a query without a description in `.sqlx`.
const NOT_DESCRIBED: &str = "cargo sqlx prepare";
/// Characters of a content's id that are kept.
const ID_LENGTH: usize = 10;

/// Outcomes by test: whether its change was noticed, the day, and the contents.
type Outcomes = BTreeMap<String, (bool, String, String)>;

/// Proves what is not proven yet; with a filter, whatever belongs to it in any case. As many copies are at work as there are cores.
pub fn mutants(filter: Option<&str>) -> Result<()> {
    let checks = checks::all(Path::new(ROOT))?;
    let named = checks.iter().flat_map(Named::of).collect::<Result<Vec<_>>>()?;
    let mut known = read()?;
    known.retain(|name, _| named.iter().any(|named| *name == named.name));
    let is_asked = |named: &&Named| match filter {
        Some(filter) => named.check.test.contains(filter) || named.check.ids.iter().any(|id| id == filter),
        None => !named.is_proven(&known),
    };
    let mut asked: Vec<&Named> = named.iter().filter(is_asked).collect();
    // What was never proven comes before what was proven for other contents.
    asked.sort_by_key(|named| known.contains_key(&named.name));
    println!("{} of {} to prove", asked.len(), named.len());
    write(&known, &named)?;
    prove(&asked, &named, &Mutex::new(known))?;
    let known = read()?;
    let missed: Vec<&str> = known.iter().filter(|(_, (caught, ..))| !caught).map(|(name, _)| &**name).collect();
    println!("{} caught, {} missed, of {}", known.len() - missed.len(), missed.len(), named.len());
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

fn prove(asked: &[&Named], named: &[Named], known: &Mutex<Outcomes>) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let count = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(asked.len());
    let (_cluster, _database, url) = tokio::runtime::Runtime::new()?.block_on(migrated())?;
    let copies: Vec<Copy> = (0..count).map(|number| Copy::make(number, &url)).collect::<Result<_>>()?;
    let mut failing = BTreeSet::new();
    for some in asked.chunks(BATCH) {
        failing.extend(prove_some(&copies, some, named, known)?);
    }
    ensure!(failing.is_empty(), "fail without any change, so that nothing is proven by them: {failing:?}");
    Ok(())
}

/// Gives the tests that fail in any case.
fn prove_some<'a>(
    copies: &[Copy],
    asked: &[&'a Named<'a>],
    named: &[Named],
    known: &Mutex<Outcomes>,
) -> Result<BTreeSet<(&'a str, &'a str)>> {
    let test = |named: &'a Named<'a>| (&*named.check.target, &*named.check.test);
    let tests: BTreeMap<_, _> = asked.iter().map(|named| (test(named), *named)).collect();
    let failing = Mutex::new(BTreeSet::new());
    each(copies, &tests.into_values().collect::<Vec<_>>(), |copy, named| {
        if !copy.test(named.check)?.0 {
            println!("FAILS without any change: {}", named.check.test);
            lock(&failing).insert(test(named));
        }
        Ok(())
    })?;
    let failing = failing.into_inner().unwrap_or_else(PoisonError::into_inner);
    let provable: Vec<&Named> = asked.iter().copied().filter(|named| !failing.contains(&test(named))).collect();
    each(copies, &provable, |copy, next| {
        let is_caught = copy.catches(next)?;
        println!("{} {}", word(is_caught), next.name);
        let mut known = lock(known);
        known.insert(next.name.clone(), (is_caught, today()?, next.contents.clone()));
        write(&known, named)
    })?;
    Ok(failing)
}

/// Does this for each, as many at a time as there are copies.
fn each<'a>(
    copies: &[Copy],
    all: &[&'a Named<'a>],
    work: impl Fn(&Copy, &'a Named<'a>) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let in_turn = |copy: &Copy| -> Result<()> {
            while let Some(next) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(copy, next)?;
            }
            Ok(())
        };
        let working: Vec<_> = copies.iter().map(|copy| scope.spawn(move || in_turn(copy))).collect();
        working.into_iter().try_for_each(|copy| copy.join().map_err(|_| anyhow!("a copy's thread panicked"))?)
    })
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A change and the test that must notice it.
struct Named<'a> {
    check: &'a Check,
    mutation: &'a Mutation,
    /// In the book: target and test, and which of several changes.
    name: String,
    /// What a proof is about: the changed file and the test's own, which names the change, as they are committed and the copies have them.
    contents: String,
}

impl<'a> Named<'a> {
    fn of(check: &'a Check) -> impl Iterator<Item = Result<Self>> {
        check.mutations.iter().zip(1..).map(move |(mutation, number)| {
            let which = if number == 1 { String::new() } else { format!("~{number}") };
            let contents = contents([&mutation.file, &check.source])?;
            Ok(Self { check, mutation, name: format!("{} {}{which}", check.target, check.test), contents })
        })
    }

    fn is_proven(&self, known: &Outcomes) -> bool {
        known.get(&self.name).is_some_and(|(is_caught, _, of)| *is_caught && *of == self.contents)
    }
}

const fn word(is_caught: bool) -> &'static str {
    if is_caught { "caught" } else { "MISSED" }
}

fn contents(paths: [&str; 2]) -> Result<String> {
    let committed = paths.map(|path| format!("HEAD:{path}"));
    let ids = git(Path::new(ROOT), &["rev-parse", &committed[0], &committed[1]])?;
    let short: Vec<&str> = ids.lines().map(|id| &id[..ID_LENGTH.min(id.len())]).collect();
    Ok(short.join("+"))
}

fn read() -> Result<Outcomes> {
    let path = Path::new(ROOT).join(BOOK);
    if !path.exists() {
        return Ok(Outcomes::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {BOOK}"))?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<(String, (bool, String, String))> {
    let mut words = line.strip_prefix("- ")?.split(' ');
    let (outcome, day, target, test, contents) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    Some((format!("{target} {test}"), (outcome == word(true), day.to_owned(), contents.to_owned())))
}

fn write(known: &Outcomes, named: &[Named]) -> Result<()> {
    let (all, noticed) = (named.len(), known.values().filter(|(is_caught, ..)| *is_caught).count());
    let current = named.iter().filter(|named| named.is_proven(known)).count();
    let earlier = noticed - current;
    let mut text = format!(
        "{HEAD}Of {all} changes that tests name, {current} are proven for the files as they were at the last run, {earlier} for earlier ones, \
         and {} not.\n\n",
        all - noticed
    );
    for (name, (is_caught, day, contents)) in known {
        text.extend(["- ", word(*is_caught), " ", day, " ", name, " ", contents, "\n"]);
    }
    fs::write(Path::new(ROOT).join(BOOK), text).with_context(|| format!("cannot write {BOOK}"))
}

/// A checkout of what is committed, below `target`, kept for its built dependencies.
struct Copy {
    root: PathBuf,
    /// Where queries are described that are as they were never committed.
    database: String,
}

impl Copy {
    fn make(number: usize, database: &str) -> Result<Self> {
        let path = Path::new(ROOT).join(format!("target/mutants-{number}"));
        git(Path::new(ROOT), &["worktree", "prune"])?;
        if path.join(".git").exists() {
            let head = git(Path::new(ROOT), &["rev-parse", "HEAD"])?;
            git(&path, &["checkout", "--quiet", "--force", "--detach", head.trim()])?;
        } else {
            git(Path::new(ROOT), &["worktree", "add", "--quiet", "--detach", &path.to_string_lossy()])?;
        }
        Ok(Self { root: path.canonicalize().context("cannot find the copy")?, database: database.to_owned() })
    }

    /// Whether the test fails with the change. A change that does not compile proves nothing about the test.
    fn catches(&self, named: &Named) -> Result<bool> {
        let Named { check, mutation, .. } = *named;
        let path = self.root.join(&mutation.file);
        let original = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let changed = mutation.applied(&original);
        let changed = changed.with_context(|| format!("{}: the place to change is not there once", check.test))?;
        fs::write(&path, changed).context("cannot write a copy")?;
        let outcome = match self.test(check) {
            Ok((_, output)) if output.contains(NOT_DESCRIBED) => {
                match describe(&self.root, &self.database, &self.root.join(".sqlx")) {
                    Ok(()) => self.test(check),
                    Err(error) => Ok((false, format!("{error:#}"))),
                }
            }
            outcome => outcome,
        };
        fs::write(&path, &original).context("cannot write a copy")?;
        let (passed, output) = outcome?;
        Ok(!passed && output.contains("test result: FAILED"))
    }

    /// Whether the test passes, and what it prints.
    fn test(&self, check: &Check) -> Result<(bool, String)> {
        run(check, &self.root, Some(&self.root.join("target")))
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(folder).output().context("cannot run git")?;
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_as_it_was_written() {
        let line = "- caught 2026-11-25 book limits::it_holds 0123456789+abcdefabcd";
        let (name, outcome) = parse(line).unwrap();
        assert_eq!(name, "book limits::it_holds");
        assert_eq!(outcome, (true, "2026-11-25".to_owned(), "0123456789+abcdefabcd".to_owned()));
        assert!(!parse("- MISSED 2026-11-25 book a::b c").unwrap().1.0);
        assert_eq!(parse("# Changes"), None);
    }
}
