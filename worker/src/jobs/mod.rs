//! What jobs do; one file a kind. A job is an id and a question: it asks the database whether it is still needed.

pub mod expire;
mod frontend;
pub mod guesses;
pub mod mail;
pub mod partitions;
pub mod purge;
pub mod roll_up;
pub mod webhook;

use std::time::Duration;

use doorbook_core::job;
use doorbook_core::service::Doorbook;
use doorbook_core::store::jobs::Claimed;
use doorbook_core::store::pacing::Destination;
use doorbook_core::store::query::deliveries::DeliveryRow;

use self::mail::Post;
use self::webhook::Hook;

/// The ways out of this process.
pub struct Outlets {
    pub post: Post,
    /// `None`: nobody wants alerts.
    pub hook: Option<Hook>,
}

/// What the work says of itself; when and how often it is tried again is decided by the runner.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// It may work later.
    Retry {
        error: String,
    },
    /// It never will; an operator may look at it.
    Dead {
        error: String,
    },
    /// The server, or the receiver of a webhook, has taken the mail.
    Sent {
        answer: String,
    },
    /// The server may take the mail later.
    Deferred {
        answer: String,
    },
    /// The server may have taken the mail, and nobody heard so.
    Unheard {
        answer: String,
    },
    /// Its destination takes no mails now: as if the job had not begun, for this long or until that one takes mails again.
    Held {
        by: Option<Destination>,
        pause: Duration,
    },
    /// The server never will take the mail.
    Refused {
        answer: String,
    },
    /// Nobody needs the mail.
    Unneeded {
        reason: &'static str,
    },
}

impl Verdict {
    fn retry(error: &impl std::fmt::Display) -> Self {
        Self::Retry { error: error.to_string() }
    }
}

/// What the work says, and of a mail the delivery that it was about, as it read it.
pub struct Told {
    pub verdict: Verdict,
    pub delivery: Option<DeliveryRow>,
}

impl From<Verdict> for Told {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, delivery: None }
    }
}

pub async fn run(doorbook: &Doorbook, outlets: &Outlets, job: &Claimed) -> Told {
    let verdict = match job.kind.as_str() {
        job::MAIL => return mail::run(doorbook, outlets, job).await,
        job::GUESSES => guesses::run(doorbook, job).await,
        job::ROLL_UP => roll_up::run(doorbook, job).await,
        job::EXPIRE => expire::run(doorbook, job).await,
        job::PURGE => purge::run(doorbook, job).await,
        job::PARTITIONS => partitions::run(doorbook).await,
        unknown => Verdict::Dead { error: format!("this release knows no job of kind {unknown:?}") },
    };
    verdict.into()
}
