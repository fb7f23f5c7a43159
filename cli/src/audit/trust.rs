//! Which keys are believed about which log.

use doorbook_core::audit::checkpoint::Checkpoint;
use doorbook_core::audit::note::{Note, Verifier, hex};

pub struct Trust {
    /// Name of the log.
    pub origin: String,
    verifiers: Vec<Verifier>,
}

/// What a note is worth.
pub enum Worth {
    Trusted(Checkpoint),
    /// Signed by keys that nobody has vouched for.
    Unknown(String),
    /// No checkpoint of this log.
    Wrong(&'static str),
}

impl Trust {
    pub const fn new(origin: String, verifiers: Vec<Verifier>) -> Self {
        Self { origin, verifiers }
    }

    pub fn weigh(&self, note: &Note) -> Worth {
        let Some(checkpoint) = Checkpoint::parse(note.text()) else { return Worth::Wrong("it is no checkpoint") };
        if checkpoint.origin != self.origin {
            return Worth::Wrong("it is of another log");
        }
        if note.is_signed_by(&self.verifiers) {
            return Worth::Trusted(checkpoint);
        }
        let ids = note.key_ids();
        if self.verifiers.iter().any(|known| ids.contains(&known.id())) {
            return Worth::Wrong("its signature is false");
        }
        Worth::Unknown(ids.iter().map(|id| hex(id)).collect::<Vec<_>>().join(", "))
    }
}
