//! The checks of the security bar as they stand in the tests: which tests belong to an id, and which one-line change of the code
//! each of them must notice. Read from the doc comments, `C026. Breaks when` + file + old and new text, so that neither can be
//! forgotten when a test moves. A line `Release:` + why says that the whole dose counts in the release profile alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Root of the checkout.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Packages whose tests hold checks.
const PACKAGES: [&str; 7] = ["dev", "core", "api", "worker", "mail", "cli", "bench/faults"];

/// In place of an integration test's target: a test beside the code.
pub const LIB: &str = "lib";

/// What a comment says before the change that its test must notice.
const BREAKS: &str = "Breaks when `";

/// How a line begins that asks for the release profile: of servers and test, since the one starts the other.
const RELEASE: &str = "Release: ";

/// A change that must make a test fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    pub file: String,
    pub old: String,
    pub new: String,
}

impl Mutation {
    /// The file with the change; `None` unless there is one place for it. Where the change is named is none.
    pub fn applied(&self, text: &str) -> Option<String> {
        let line = |at: usize| {
            let begin = text[..at].rfind('\n').map_or(0, |end| end + 1);
            text[begin..].lines().next().unwrap_or_default()
        };
        let mut places = text.match_indices(&self.old).filter(|(at, _)| !line(*at).contains(BREAKS));
        let (Some((at, old)), None) = (places.next(), places.next()) else { return None };
        Some([&text[..at], &self.new, &text[at + old.len()..]].concat())
    }
}

/// One test that names what it checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Ids it belongs to; none for a rule that is not on the bar.
    pub ids: Vec<String>,
    pub package: String,
    /// The integration test's target, or [`LIB`].
    pub target: String,
    /// The file that it stands in, from the root of the checkout.
    pub source: String,
    /// Its path within the target; of a test beside the code its name.
    pub test: String,
    pub mutations: Vec<Mutation>,
    /// Whether its whole dose measures rates, which a build without optimisation says nothing about.
    pub release: bool,
}

/// Every check of the checkout at `root`.
pub fn all(root: &Path) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (package, kind) in PACKAGES.into_iter().flat_map(|package| [(package, "tests"), (package, "src")]) {
        let folder = root.join(package).join(kind);
        if !folder.is_dir() {
            continue;
        }
        for file in sources(&folder)? {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let (target, module) = if kind == "src" { (LIB.to_owned(), String::new()) } else { place(&folder, &file) };
            checks.extend(of_source(&text).into_iter().map(|(comment, name)| Check {
                ids: comment.ids,
                package: format!("doorbook-{}", package.rsplit('/').next().unwrap_or(package)),
                source: format!("{}", file.strip_prefix(root).unwrap_or(&file).display()),
                target: target.clone(),
                test: if module.is_empty() { name } else { format!("{module}::{name}") },
                mutations: comment.mutations,
                release: comment.release,
            }));
        }
    }
    Ok(checks)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.context("cannot read a folder")?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Target and module of a test file: `book/limits.rs` is module `limits` of target `book`.
fn place(folder: &Path, file: &Path) -> (String, String) {
    let relative = file.strip_prefix(folder).unwrap_or(file).with_extension("");
    let mut parts = relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let target = parts.next().unwrap_or_default();
    let module: Vec<String> = parts.filter(|part| part != "main" && part != "mod").collect();
    (target, module.join("::"))
}

/// What the doc comment of a test says of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Comment {
    ids: Vec<String>,
    mutations: Vec<Mutation>,
    release: bool,
}

/// Doc comments that name a check, each with the test behind it.
fn of_source(text: &str) -> Vec<(Comment, String)> {
    let (mut found, mut comment) = (Vec::new(), Comment::default());
    for line in text.lines() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("/// ") {
            comment.ids.extend(ids(text));
            comment.mutations.extend(mutation(text));
            comment.release |= text.starts_with(RELEASE);
        } else if let Some(name) = function(line) {
            let comment = std::mem::take(&mut comment);
            if !comment.ids.is_empty() || !comment.mutations.is_empty() {
                found.push((comment, name));
            }
        }
    }
    found
}

/// Ids at the beginning of a comment: `C025, C026.`
fn ids(comment: &str) -> Vec<String> {
    let head = comment.split_once('.').map_or("", |(head, _)| head);
    let parts: Vec<&str> = head.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    let is_id =
        |part: &&str| part.len() == 4 && part.starts_with('C') && part[1..].bytes().all(|byte| byte.is_ascii_digit());
    if parts.iter().all(is_id) { parts.into_iter().map(str::to_owned).collect() } else { Vec::new() }
}

fn mutation(comment: &str) -> Option<Mutation> {
    let (_, rest) = comment.split_once(BREAKS)?;
    let (file, rest) = rest.split_once("`: `")?;
    let (old, new) = rest.split_once("` → `")?;
    let new = new.trim_end_matches('.').strip_suffix('`')?;
    let text = |escaped: &str| escaped.replace("\\n", "\n");
    Some(Mutation { file: file.to_owned(), old: text(old), new: text(new) })
}

fn function(line: &str) -> Option<String> {
    let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
    rest.split_once('(').map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_read_from_the_comment_above_its_test() {
        let text = "/// C025, C026. Breaks when `core/src/a.rs`: `x\\ny` → `z`.\n/// Release: a rate.\n#[tokio::test]\nasync fn it_holds() {\n/// Other.\nfn helper() {}";
        let mutation = Mutation { file: "core/src/a.rs".into(), old: "x\ny".into(), new: "z".into() };
        let comment = Comment { ids: vec!["C025".into(), "C026".into()], mutations: vec![mutation], release: true };
        assert_eq!(of_source(text), [(comment, "it_holds".into())]);
    }

    #[test]
    fn a_change_is_made_where_the_code_is_and_not_where_it_is_named() {
        let change = Mutation { file: String::new(), old: "a + 1".into(), new: "a".into() };
        let named = "/// Breaks when `f`: `a + 1` \u{2192} `a`.\n";
        assert_eq!(change.applied(&format!("{named}x = a + 1;\n")), Some(format!("{named}x = a;\n")));
        assert_eq!(change.applied(named), None);
        assert_eq!(change.applied("a + 1, a + 1"), None);
    }

    #[test]
    fn every_whole_dose_that_the_documents_name_is_there() {
        let checks = all(Path::new(ROOT)).unwrap();
        let is_known = |name: &str| {
            ["mutants", "ID"].contains(&name)
                || checks.iter().any(|check| check.test == name || check.ids.iter().any(|id| id == name))
        };
        let documents = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let documents = documents.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        for path in documents.chain([Path::new(ROOT).join("README.md")]) {
            let text = fs::read_to_string(&path).unwrap();
            for (_, rest) in text.match_indices("cargo full -- ").map(|(at, what)| text.split_at(at + what.len())) {
                let name = rest.split(|end: char| end.is_whitespace() || end == '`').next().unwrap_or_default();
                assert!(is_known(name), "{}: cargo full -- {name}", path.display());
            }
        }
    }

    #[test]
    fn every_mutation_of_this_checkout_has_its_place() {
        for check in all(Path::new(ROOT)).unwrap() {
            for mutation in &check.mutations {
                let text = fs::read_to_string(Path::new(ROOT).join(&mutation.file)).unwrap_or_default();
                let (file, old) = (&mutation.file, &mutation.old);
                assert!(mutation.applied(&text).is_some(), "{}: {file} does not hold {old:?} once", check.test);
            }
        }
    }
}
