//! Whether the service can do its work.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Doorbook;
use crate::store::query;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Ready,
    /// Requests are served; mails wait, or nobody sends them.
    Degraded,
    /// No database, or one with other migrations than this build's.
    Unavailable,
}

impl Doorbook {
    pub async fn health(&self) -> Health {
        /// Migrations are never taken back, so once right they stay right.
        static MIGRATED: AtomicBool = AtomicBool::new(false);
        if !MIGRATED.load(Ordering::Relaxed) {
            match query::migrations_applied(&self.db).await {
                Ok(true) => MIGRATED.store(true, Ordering::Relaxed),
                Ok(false) => {
                    tracing::warn!("the database has other migrations than this build");
                    return Health::Unavailable;
                }
                Err(error) => {
                    tracing::warn!(%error, "the database cannot be asked");
                    return Health::Unavailable;
                }
            }
        }
        match query::worker_well(&self.db).await {
            Ok(true) => Health::Ready,
            Ok(false) => Health::Degraded,
            Err(error) => {
                tracing::warn!(%error, "the database cannot be asked");
                Health::Unavailable
            }
        }
    }
}
