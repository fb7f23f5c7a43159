//! Which keys are believed about which log.

use doorbook_core::audit::checkpoint::Checkpoint;
use doorbook_core::audit::note::{Note, Verifier, hex};
use doorbook_core::config::Settings;
use doorbook_core::service::checkpoints as keys;
use doorbook_core::store::{Db, checkpoints};

use crate::settings;

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
    /// The log of this database, and the keys that the settings trust.
    pub async fn of_settings(settings: &Settings, db: &Db) -> anyhow::Result<Self> {
        let origin = checkpoints::origin(db).await?;
        let own = settings.watching.checkpoints.private_key.as_ref();
        let verifiers = keys::verifiers(db, &settings::roots(settings), own, &origin).await?;
        Ok(Self::new(origin, verifiers))
    }

    pub fn into_verifiers(self) -> Vec<Verifier> {
        self.verifiers
    }

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
