//! How the service itself is: what waits, for how long, and who works.

use super::{Doorbook, Refusal};
use crate::store::checkpoints::{self, SinkLag, StoredCheckpoint};
use crate::store::follow::{self, Follower};
use crate::store::jobs::{self, Backlog, Worker};
use crate::store::seal::{self, Lag};

#[derive(Debug)]
pub struct System {
    /// Events that have no place in the log yet.
    pub unsealed: Lag,
    /// Checkpoints that stand in the database alone.
    pub unwritten: SinkLag,
    pub newest_checkpoint: Option<StoredCheckpoint>,
    pub jobs: Backlog,
    pub followers: Vec<Follower>,
    pub workers: Vec<Worker>,
}

impl Doorbook {
    pub async fn system(&self) -> Result<System, Refusal> {
        Ok(System {
            unsealed: seal::lag(&self.db).await?,
            unwritten: checkpoints::sink_lag(&self.db).await?,
            newest_checkpoint: checkpoints::before(&self.db, i64::MAX, 1).await?.pop(),
            jobs: jobs::backlog(&self.db).await?,
            followers: follow::all(&self.db).await?,
            workers: jobs::workers(&self.db).await?,
        })
    }
}
