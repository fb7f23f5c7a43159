//! What an import has come to: for people as lines, for programs as one JSON object. No address and no hash stands in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use doorbook_core::service::import::row::{Column, Fault, Note, Row};
use serde::Serialize;

use super::source::Columns;

#[derive(Serialize)]
struct Refused {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    id: Option<String>,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
pub struct Report {
    dry_run: bool,
    /// Rows of the source.
    pub read: u64,
    /// In a dry run: that would be imported.
    imported: u64,
    /// Brought over by an earlier run.
    pub known: u64,
    refused: Vec<Refused>,
    /// Imported accounts by what their hash is called.
    hashes: BTreeMap<&'static str, u64>,
    /// Ids of imported accounts by what is worth telling of them.
    notes: BTreeMap<Note, Vec<String>>,
    columns_missing: Vec<&'static str>,
    pub ignored: Vec<String>,
    seconds: u64,
    accounts_per_second: u64,
}

impl Report {
    pub fn new(dry_run: bool, columns: &Columns) -> Self {
        Self {
            dry_run,
            read: 0,
            imported: 0,
            known: 0,
            refused: Vec::new(),
            hashes: BTreeMap::new(),
            notes: BTreeMap::new(),
            // Django has none.
            columns_missing: columns
                .missing()
                .into_iter()
                .filter(|column| *column != Column::EmailVerified)
                .map(Column::name)
                .collect(),
            ignored: Vec::new(),
            seconds: 0,
            accounts_per_second: 0,
        }
    }

    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// `out` is where a line for people goes at once, if there are people.
    pub fn refuse(
        &mut self,
        line: Option<u64>,
        id: Option<&str>,
        faults: Vec<Fault>,
        out: Option<&mut impl Write>,
    ) -> anyhow::Result<()> {
        let id = id.map(shown);
        if let Some(out) = out {
            for fault in &faults {
                writeln!(out, "refused: {}: {} {}", place(line, id.as_deref()), fault.field, fault.message)?;
            }
        }
        self.refused.push(Refused { line, id, faults });
        Ok(())
    }

    pub fn import(&mut self, row: &Row, out: Option<&mut impl Write>) -> anyhow::Result<()> {
        self.imported += 1;
        *self.hashes.entry(row.scheme.unwrap_or("none")).or_default() += 1;
        if let Some(out) = out.filter(|_| self.dry_run) {
            for note in &row.notes {
                writeln!(out, "note: {}: {}", place(row.line, Some(&row.id)), told(*note))?;
            }
        }
        for note in &row.notes {
            self.notes.entry(*note).or_default().push(row.id.clone());
        }
        Ok(())
    }

    pub fn end(&mut self, elapsed: Duration) {
        self.seconds = elapsed.as_secs();
        let millis = elapsed.as_millis().max(1);
        self.accounts_per_second = u64::try_from(u128::from(self.imported) * 1_000 / millis).unwrap_or(u64::MAX);
    }

    pub fn json(&self, out: &mut impl Write) -> anyhow::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        Ok(writeln!(out)?)
    }

    pub fn summary(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let verb = if self.dry_run { "would be imported" } else { "imported" };
        writeln!(
            out,
            "{} rows: {} {verb}, {} were there already, {} refused.",
            self.read,
            self.imported,
            self.known,
            self.refused.len()
        )?;
        let hashes: Vec<String> = self.hashes.iter().map(|(scheme, count)| format!("{scheme} {count}")).collect();
        if !hashes.is_empty() {
            writeln!(out, "  passwords: {}", hashes.join(", "))?;
        }
        for (note, ids) in &self.notes {
            writeln!(out, "  {}: {}", told(*note), ids.len())?;
        }
        if !self.columns_missing.is_empty() {
            writeln!(out, "  not in the source: {}", self.columns_missing.join(", "))?;
        }
        if !self.ignored.is_empty() {
            writeln!(out, "  not read: {}", shown(&self.ignored.join(", ")))?;
        }
        if !self.dry_run {
            writeln!(out, "  {} accounts a second", self.accounts_per_second)?;
        }
        Ok(())
    }
}

fn place(line: Option<u64>, id: Option<&str>) -> String {
    match (line, id) {
        (Some(line), Some(id)) => format!("line {line} (id {id})"),
        (Some(line), None) => format!("line {line}"),
        (None, id) => format!("id {}", id.unwrap_or_default()),
    }
}

/// Somebody else's text on a terminal: bounded, and without what moves the cursor. An id that is an address stays hidden.
fn shown(text: &str) -> String {
    /// In characters.
    const SHOWN_MAX: usize = 200;
    if text.contains('@') {
        return "(an address)".to_owned();
    }
    text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

const fn told(note: Note) -> &'static str {
    match note {
        Note::NoPassword => "has no usable password: logs in after a reset",
        Note::PasswordDropped => "hash left behind, since it cannot be verified here: logs in after a reset",
        Note::Disabled => "inactive, so disabled",
        Note::Unverified => "address not verified",
        Note::StaffWithoutRole => "staff, without a role (--map-staff gives one)",
        Note::SuperuserWithoutRole => "superuser, without a role (--map-superuser gives one)",
        Note::RoleGranted => "gets a role",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_row_reaches_the_terminal_as_it_is() {
        assert_eq!(shown("ana@example.com"), "(an address)");
        assert_eq!(shown("7\u{1b}[2J"), "7\u{fffd}[2J");
        assert_eq!(shown(&"7".repeat(500)).len(), 200);
        assert_eq!(
            (place(Some(3), Some("7")), place(None, Some("7"))),
            ("line 3 (id 7)".to_owned(), "id 7".to_owned())
        );
    }
}
