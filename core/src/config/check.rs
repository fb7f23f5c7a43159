//! Judges a deployment as far as its settings tell, for `doorbook check`. No I/O: who asks the servers adds lines of the
//! same form.

mod effective;
mod judge;
mod parts;

pub(super) use effective::fingerprint;
pub use effective::{Effective, effective, given};
pub use judge::judge;
pub use parts::Parts;

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What was looked at; the same in every report, so that programs may go by it.
    pub check: &'static str,
    pub verdict: Verdict,
    /// What was found and, unless all is well, what to do. Never a secret.
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    /// Works, and may not be what is wanted.
    Warn,
    Fail,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Line {
    pub fn ok(check: &'static str, note: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, note: note.into() }
    }

    pub fn warn(check: &'static str, note: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, note: note.into() }
    }

    pub fn fail(check: &'static str, note: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, note: note.into() }
    }
}

/// Whether any line fails.
pub fn is_failed(lines: &[Line]) -> bool {
    lines.iter().any(|line| line.verdict == Verdict::Fail)
}
