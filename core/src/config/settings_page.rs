//! `docs/SETTINGS.md`, made of the registry.

use super::registry::{self, Rule, Unset, Variable};

const HEADER: &str = "\
# Settings

Every setting is an environment variable; `.env` in the working directory is read too and never overrides the real environment. An empty value is
as good as none. For a secret `X`, `X_FILE` may name a file that holds it. Booleans: `True/False`, `true/false`, `1/0`, `yes/no`, `on/off`.

All faults are reported together at start, each with its variable and rule and never with a value; the process then ends with status 2 before it
opens a port. So it does, one by one and before the port of clients is open, for what shows only when a file is opened or Postgres asked: templates, a list of
breached passwords, a key that was dropped too early, a pooler. A name that nothing reads and that looks like a misspelt setting is warned of. `doorbook check` shows what is in force,
`doorbook check --deploy` judges a deployment.

This page is made of `core/src/config/registry.rs` by `cargo test -p doorbook-core --test config -- --ignored`.
";

/// The text of `docs/SETTINGS.md`.
pub fn settings_page() -> String {
    let mut lines = vec![HEADER.to_owned()];
    let mut group = "";
    for variable in registry::ALL {
        if variable.group != group {
            group = variable.group;
            lines.push(format!("\n## {group}\n\n| variable | unset | must be | effect |\n|---|---|---|---|\n"));
        }
        lines.push(row(variable));
    }
    lines.concat()
}

fn row(variable: &Variable) -> String {
    let Variable { name, about, secret, .. } = variable;
    let unset = match variable.default {
        Unset::Required => "must be set".to_owned(),
        Unset::RequiredUnless(case) => format!("must be set unless {case}"),
        Unset::Empty => "none".to_owned(),
        Unset::Value(value) => format!("`{value}`"),
        Unset::Derived(from) => from.to_owned(),
    };
    let rule = match variable.rule {
        Rule::Flag => "a boolean".to_owned(),
        rule => rule.to_string(),
    };
    let mark = if *secret { ", or `_FILE`" } else { "" };
    format!("| `{name}`{mark} | {} | {} | {} |\n", cell(&unset), cell(&rule), cell(about))
}

/// What Markdown would take for the end of a cell or for HTML.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
