//! What the tests of this package share.

use doorbook_core::store::{Db, Pooler};
use doorbook_dev::{Cluster, Database, Role};

pub async fn cluster() -> &'static Cluster {
    Cluster::shared().await.unwrap()
}

pub async fn pooler_port() -> u16 {
    cluster().await.pooler().await.unwrap().port()
}

/// Connections of a worker through the pooler.
pub async fn pooled(database: &Database, max: u32) -> Db {
    Db::new(&database.url_at(pooler_port().await, Role::Worker), max, Pooler::Transaction).unwrap()
}
