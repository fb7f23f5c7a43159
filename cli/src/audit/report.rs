//! What a verification has come to.

use std::io::Write;

use doorbook_core::audit::walk::{Finding, Findings};
use serde::Serialize;

pub struct Report {
    pub origin: String,
    /// First and last position that was read; the last is 0 for an empty log.
    pub from: u64,
    pub to: u64,
    /// Up to here everything is under a checkpoint that a trusted key has signed.
    pub proven: u64,
    pub findings: Findings,
    /// What is no fault but good to know.
    pub notes: Vec<String>,
}

#[derive(Serialize)]
struct Json<'a> {
    holds: bool,
    origin: &'a str,
    from: u64,
    to: u64,
    proven_to: u64,
    findings: &'a [Finding],
    findings_not_listed: u64,
    notes: &'a [String],
}

impl Report {
    pub const fn holds(&self) -> bool {
        self.findings.is_empty()
    }

    pub fn print(&self, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
        if json {
            let report = Json {
                holds: self.holds(),
                origin: &self.origin,
                from: self.from,
                to: self.to,
                proven_to: self.proven,
                findings: &self.findings.listed,
                findings_not_listed: self.findings.unlisted,
                notes: &self.notes,
            };
            serde_json::to_writer_pretty(&mut *out, &report)?;
            return Ok(writeln!(out)?);
        }
        for finding in &self.findings.listed {
            // What it quotes is somebody else's text.
            writeln!(out, "{}", finding.to_string().replace(char::is_control, "\u{fffd}"))?;
        }
        if self.findings.unlisted > 0 {
            writeln!(out, "and {} more", self.findings.unlisted)?;
        }
        for note in &self.notes {
            writeln!(out, "note: {}", note.replace(char::is_control, "\u{fffd}"))?;
        }
        writeln!(out, "{}: {}", self.origin.replace(char::is_control, "\u{fffd}"), self.verdict())?;
        Ok(())
    }

    fn verdict(&self) -> String {
        let Self { from, to, proven, .. } = self;
        match to.saturating_sub(*proven) {
            _ if !self.holds() => format!("positions {from} to {to} read: they do NOT hold"),
            0 => format!("positions {from} to {to} hold, all under a signed checkpoint"),
            more => format!("positions {from} to {to} hold, the last {more} of them under no checkpoint yet"),
        }
    }
}
