//! Word that jobs have become due. It comes early or not at all: whoever waits for it also polls.

use sqlx::postgres::PgListener;
use tokio::sync::OwnedSemaphorePermit;

use super::StoreError;
use super::db::{self, Db};
use super::project::outbox::WAKE_CHANNEL;

/// Listens on one connection until it is dropped.
pub struct Wakes {
    listener: PgListener,
    /// Its room in the pool.
    _place: Option<OwnedSemaphorePermit>,
}

impl Wakes {
    /// On a connection of its own to `direct`, else on one of the pool. `None` behind a pooler in transaction mode, which passes no word
    /// on: there is nothing to wait for but the poll.
    pub async fn listen(db: &Db, direct: Option<&str>) -> Result<Option<Self>, StoreError> {
        let (mut listener, place) = match (direct, db.direct()) {
            (Some(url), _) => (PgListener::connect_with(&db::single(url)?).await?, None),
            (None, Some(pool)) => {
                let place = db.reserve().await?;
                (PgListener::connect_with(pool).await?, Some(place))
            }
            (None, None) => return Ok(None),
        };
        listener.listen(WAKE_CHANNEL).await?;
        Ok(Some(Self { listener, _place: place }))
    }

    /// Returns when jobs have become due. An error means that word may have been missed: listen anew.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        match self.listener.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed)),
        }
    }
}
