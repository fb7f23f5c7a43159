//! What the tests of this package share.

use doorbook_core::store::{Db, Pooler};
use doorbook_dev::{Cluster, Database, Role, Stand};
use serde_json::json;

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

pub const EMAIL: &str = "ana@example.com";
pub const PASSWORD: &str = "violet harbour 73";

/// An api with somebody in it, and a token of his.
pub async fn stand() -> (Stand, String) {
    let stand = Stand::start_api(cluster().await, &[]).await.unwrap();
    let client = stand.client();
    let body = json!({ "email": EMAIL, "password": PASSWORD, "password_confirm": PASSWORD });
    assert_eq!(client.post("/api/auth/register/", body).await.unwrap().status, 201);
    let answer = client.post("/api/auth/login/", json!({ "email": EMAIL, "password": PASSWORD })).await.unwrap();
    let access = answer.text("access").to_owned();
    (stand, access)
}
