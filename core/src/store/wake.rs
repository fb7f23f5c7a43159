//! Word that jobs have become due. It comes early or not at all: whoever waits for it also polls.

use sqlx::PgPool;
use sqlx::postgres::PgListener;

use super::StoreError;
use super::project::outbox::WAKE_CHANNEL;

/// Listens on one connection of the pool until it is dropped.
pub struct Wakes(PgListener);

impl Wakes {
    pub async fn listen(db: &PgPool) -> Result<Self, StoreError> {
        let mut listener = PgListener::connect_with(db).await?;
        listener.listen(WAKE_CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Returns when jobs have become due. An error means that word may have been missed: listen anew.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        match self.0.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed)),
        }
    }
}
