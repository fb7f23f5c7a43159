//! `.env.example`, made of the registry.

use super::registry::{self, Unset, Variable};

const HEADER: &str = "\
# Settings of Doorbook. Copy to .env and fill in the lines that are not comments.
# What is commented out shows its default, or in brackets what the default follows from.
# Booleans: True/False, true/false, 1/0, yes/no, on/off. For a secret X, X_FILE may name a file that holds it.
";

/// The text of `.env.example`.
pub fn env_example() -> String {
    let mut lines = vec![HEADER.to_owned()];
    let mut group = "";
    for variable in registry::ALL {
        if variable.group != group {
            group = variable.group;
            lines.push(format!("# ---- {group} ----\n"));
        }
        lines.push(entry(variable));
    }
    lines.join("\n")
}

fn entry(variable: &Variable) -> String {
    let Variable { name, rule, about, .. } = variable;
    let assignment = match variable.default {
        Unset::Required => format!("{name}="),
        Unset::RequiredUnless(case) => format!("# Needed unless {case}.\n{name}="),
        Unset::Empty => format!("# {name}="),
        Unset::Value(value) => format!("# {name}={value}"),
        Unset::Derived(from) => format!("# {name}= # [{from}]"),
    };
    format!("# {about}\n# Must be {rule}.\n{assignment}\n")
}
