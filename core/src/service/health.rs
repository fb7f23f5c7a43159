//! Whether the service can do its work.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Doorbook;
use crate::store::migrations::level;
use crate::store::{StoreError, query};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Ready,
    /// Requests are served; mails wait, or nobody sends them.
    Degraded,
    /// A newer release has taken away what this build uses: it must go, and does not come back by itself.
    Outdated,
    /// No database, or one without the migrations of this build.
    Unavailable,
}

impl Doorbook {
    pub async fn health(&self) -> Health {
        match self.examine().await {
            Ok(health) => health,
            Err(error) => {
                tracing::warn!(%error, "the database cannot be asked");
                Health::Unavailable
            }
        }
    }

    async fn examine(&self) -> Result<Health, StoreError> {
        /// Migrations are never taken back, so what is there stays there.
        static MIGRATED: AtomicBool = AtomicBool::new(false);
        if !MIGRATED.load(Ordering::Relaxed) {
            if !query::is_migrated(&self.db).await? {
                tracing::warn!("the database lacks migrations of this build, or has them with other texts");
                return Ok(Health::Unavailable);
            }
            MIGRATED.store(true, Ordering::Relaxed);
        }
        let condition = query::condition(&self.db).await?;
        if level() < condition.floor {
            tracing::warn!(level = level(), floor = condition.floor, "the database serves newer releases only");
            return Ok(Health::Outdated);
        }
        Ok(if condition.is_worker_well { Health::Ready } else { Health::Degraded })
    }
}
