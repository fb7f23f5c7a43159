//! How lines are shown: to people, or with `--json` to programs.

use std::io::Write;

use doorbook_core::config::check::{Line, Verdict, is_failed};
use doorbook_core::store;
use serde_json::json;

use crate::Outcome;

/// The checks whose failure is cured by the SQL that makes and grants the roles.
pub const API_RIGHTS: &str = "api rights";
pub const WORKER_RIGHTS: &str = "worker rights";

pub fn write(lines: &[Line], is_json: bool, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let failed = is_failed(lines);
    let wants_roles =
        lines.iter().any(|line| line.verdict == Verdict::Fail && [API_RIGHTS, WORKER_RIGHTS].contains(&line.check));
    if is_json {
        let shown: Vec<_> = lines
            .iter()
            .map(|line| json!({ "check": line.check, "verdict": line.verdict.as_str(), "note": line.note }))
            .collect();
        let sql = wants_roles.then_some(store::ROLES_SQL);
        writeln!(out, "{:#}", json!({ "failed": failed, "lines": shown, "roles_sql": sql }))?;
    } else {
        let width = lines.iter().map(|line| line.check.len()).max().unwrap_or_default();
        for line in lines {
            writeln!(out, "{:<4}  {:<width$}  {}", line.verdict.as_str(), line.check, line.note)?;
        }
        if wants_roles {
            writeln!(
                out,
                "\nThe roles and their rights, as `doorbook roles --sql` prints them:\n\n{}",
                store::ROLES_SQL
            )?;
        }
        let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
        let (ok, warn, fail) = (count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail));
        writeln!(out, "{ok} ok, {warn} to look at, {fail} failed")?;
    }
    Ok(if failed { Outcome::Found } else { Outcome::Done })
}
