//! What the clients asked for and what they were told: the evidence that everything else is judged by.
//!
//! Each operation is a line when it begins and another when it has ended, in a file as in memory. Its trace id is its own choice and
//! stands in every event that it causes, so an event and the request behind it find each other.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use uuid::Uuid;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Action {
    Register,
    Login,
    Refresh,
    Profile,
    Reset,
    Confirm,
    Change,
    Logout,
    /// A login with a password that is wrong on purpose.
    Guess,
}

impl Action {
    /// The event that must be there once it was acknowledged; a refresh and a read leave none.
    pub const fn event(self) -> Option<&'static str> {
        match self {
            Self::Register => Some("Registered"),
            Self::Login => Some("LoggedIn"),
            Self::Reset => Some("PasswordResetRequested"),
            Self::Confirm => Some("PasswordReset"),
            Self::Change => Some("PasswordChanged"),
            Self::Logout => Some("LoggedOut"),
            Self::Refresh | Self::Profile | Self::Guess => None,
        }
    }

    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Profile | Self::Guess)
    }
}

/// How an operation ended, as far as its client can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Answered 2xx.
    Done,
    /// Answered 4xx: it must have left nothing but a note of the refusal.
    Refused,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// One request of an operation: an unknown one is sent again.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    pub begun: Duration,
    pub took: Duration,
    /// None when no answer came.
    pub status: Option<u16>,
    /// Of a refusal.
    pub retry_after: Option<u64>,
    /// Whether an error was told as a problem, and not by a proxy's page.
    pub is_problem: bool,
}

impl Attempt {
    pub fn ended(&self) -> Duration {
        self.begun + self.took
    }

    pub fn was_under_way(&self, from: Duration, to: Duration) -> bool {
        self.begun < to && self.ended() > from
    }
}

/// What an operation is about.
#[derive(Clone, Debug, Serialize)]
pub struct Intent {
    pub person: usize,
    pub action: Action,
    /// The password that a login gives, or that is to be the new one.
    pub password: Option<String>,
    /// What a change gives as the current one.
    pub former: Option<String>,
    /// Of the tokens that it shows.
    pub session: Option<Uuid>,
}

/// One operation.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub trace: Uuid,
    pub intent: Intent,
    pub begun: Duration,
    /// None while it is under way.
    pub ended: Option<Duration>,
    pub outcome: Outcome,
    pub attempts: Vec<Attempt>,
    /// The session whose tokens were in the answer: begun by a login, gone on with by a refresh.
    pub tokens_of: Option<Uuid>,
}

/// All operations of one campaign, in the order of their beginning.
pub struct Ledger {
    started: Instant,
    entries: Mutex<Vec<Entry>>,
    file: Mutex<File>,
    path: PathBuf,
}

impl Ledger {
    /// A new one, in a file that must not exist.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = Mutex::new(file.with_context(|| format!("cannot create {}", path.display()))?);
        Ok(Self { started: Instant::now(), entries: Mutex::default(), file, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub const fn started(&self) -> Instant {
        self.started
    }

    /// The time since its beginning, which all its times are.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Writes down what is about to be asked for; its number and trace id.
    pub fn begin(&self, intent: Intent) -> Result<(usize, Uuid)> {
        let trace = Uuid::from_u128(fastrand::u128(1..));
        let entry = Entry {
            trace,
            intent,
            begun: self.now(),
            ended: None,
            outcome: Outcome::Unknown,
            attempts: Vec::new(),
            tokens_of: None,
        };
        self.write(&entry)?;
        let mut entries = lock(&self.entries);
        entries.push(entry);
        Ok((entries.len() - 1, trace))
    }

    /// Adds a request to an operation that is under way.
    pub fn attempt(&self, number: usize, attempt: Attempt) {
        if let Some(entry) = lock(&self.entries).get_mut(number) {
            entry.attempts.push(attempt);
        }
    }

    /// Writes down what has come of it.
    pub fn end(&self, number: usize, outcome: Outcome, tokens_of: Option<Uuid>) -> Result<()> {
        let entry = {
            let mut entries = lock(&self.entries);
            let entry = entries.get_mut(number).context("no such operation")?;
            (entry.ended, entry.outcome, entry.tokens_of) = (Some(self.now()), outcome, tokens_of);
            entry.clone()
        };
        self.write(&entry)
    }

    /// All operations so far.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).clone()
    }

    /// Whether a write has been acknowledged whose request was sent after `since`.
    pub fn has_written_since(&self, since: Duration) -> bool {
        let entries = lock(&self.entries);
        let is_such = |entry: &&Entry| {
            let begun = entry.attempts.last().map(|attempt| attempt.begun);
            entry.outcome == Outcome::Done && entry.intent.action.is_write() && begun >= Some(since)
        };
        entries.iter().rev().take(RECENT).any(|entry| is_such(&entry))
    }

    fn write(&self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry).context("an entry is no JSON")?;
        line.push(b'\n');
        lock(&self.file).write_all(&line).context("cannot write the ledger")
    }
}

/// Operations that may be under way since the last one that ended, and some.
const RECENT: usize = 1_000;

/// Each change is a single push or write, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
