//! The settings in force.

use std::io::Write;

use doorbook_core::config::check::effective;
use doorbook_core::config::{Environment, Faults, Process, Settings, suspects};
use serde_json::json;

use crate::Outcome;

/// Prints them; fails with the faults if any setting is refused, as a start would.
pub fn show(environment: &Environment, is_json: bool, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let settings = Settings::load(environment, Process::Cli);
    let shown = effective(environment, settings.as_ref().ok());
    let suspects: Vec<String> = suspects(environment).iter().map(ToString::to_string).collect();
    if is_json {
        let all: Vec<_> =
            shown.iter().map(|one| json!({ "name": one.name, "value": one.value, "given": one.given })).collect();
        let faults = settings.as_ref().err().into_iter().flat_map(Faults::iter);
        let faults: Vec<_> = faults.map(|fault| json!({ "variable": fault.variable, "rule": fault.rule })).collect();
        writeln!(out, "{:#}", json!({ "settings": all, "faults": faults, "warnings": suspects }))?;
    } else {
        let width = shown.iter().map(|one| one.name.len()).max().unwrap_or_default();
        let mut group = "";
        for one in &shown {
            if one.group != group {
                group = one.group;
                writeln!(out, "\n# {group}")?;
            }
            let mark = if one.given { '*' } else { ' ' };
            writeln!(out, "{mark} {:<width$}  {}", one.name, one.value)?;
        }
        writeln!(out, "\n* set by the environment or .env; all others are defaults")?;
        for suspect in suspects {
            writeln!(out, "warn  {suspect}")?;
        }
    }
    settings?;
    Ok(Outcome::Done)
}
