//! What only the database's owner with the service's keys can find out: for tests that need a mailed token without the
//! mail, or must look at a row.

use std::sync::Arc;

use doorbook_core::store::keys::Vault;
use doorbook_core::token::keys::{RootRing, Use};
use doorbook_core::token::opaque;
use doorbook_core::value::Email;
use doorbook_dev::{Role, Stand};
use sqlx::PgPool;
use uuid::Uuid;

use crate::common::SECRET_KEY;

pub struct Insider {
    pub owner: PgPool,
    roots: Arc<RootRing>,
    vault: Vault,
}

impl Insider {
    pub async fn of(stand: &Stand) -> Self {
        let owner = stand.database.pool(Role::Migrator).await.unwrap();
        let roots = Arc::new(RootRing::new(SECRET_KEY.as_bytes(), &[]));
        let vault = Vault::open(&owner.clone().into(), Arc::clone(&roots)).await.unwrap();
        Self { owner, roots, vault }
    }

    pub async fn account(&self, email: &str) -> Uuid {
        let key = self.vault.email_key(&Email::parse(email).unwrap());
        sqlx::query_scalar("select account_id from account_emails where email_key = $1")
            .bind(key.as_slice())
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }

    /// The newest open token of a kind, as its mail would bring it.
    pub async fn mailed(&self, email: &str, kind: &str) -> String {
        let (id, key_id, salt): (Uuid, String, Vec<u8>) = sqlx::query_as(
            "select token_id, key_id, salt from tokens
             where account_id = $1 and kind = $2 and state = 'open' order by created_at desc, token_id desc limit 1",
        )
        .bind(self.account(email).await)
        .bind(kind)
        .fetch_one(&self.owner)
        .await
        .unwrap();
        let purpose = match kind {
            "reset" => Use::Reset,
            "verify" => Use::Verify,
            "cancel" => Use::Cancel,
            "not_me" => Use::NotMe,
            "undo" => Use::Undo,
            "change" => Use::Change,
            other => panic!("no test asks for a token of kind {other}"),
        };
        opaque::derive(&self.roots, purpose, &key_id, id, 0, &salt).unwrap().expose().to_owned()
    }

    pub async fn stored_hash(&self, email: &str) -> String {
        sqlx::query_scalar("select secret from credentials where account_id = $1")
            .bind(self.account(email).await)
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }

    /// Puts another hash in its place, as an import would.
    pub async fn import_hash(&self, email: &str, hash: &str) {
        let changed = sqlx::query("update credentials set secret = $2 where account_id = $1")
            .bind(self.account(email).await)
            .bind(hash)
            .execute(&self.owner)
            .await
            .unwrap();
        assert_eq!(changed.rows_affected(), 1);
    }

    /// Mails of a template that were ordered for an account.
    pub async fn mails(&self, email: &str, template: &str) -> i64 {
        sqlx::query_scalar("select count(*) from deliveries where account_id = $1 and template = $2")
            .bind(self.account(email).await)
            .bind(template)
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }

    /// All events about an account.
    pub async fn happened(&self, email: &str) -> i64 {
        sqlx::query_scalar("select count(*) from events where subject_id = $1")
            .bind(self.account(email).await)
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }

    /// What has happened to an account for good; not who looked at it, or tried in vain.
    pub async fn lasting(&self, email: &str) -> i64 {
        sqlx::query_scalar("select count(*) from events where subject_id = $1 and retention_class = 'keep'")
            .bind(self.account(email).await)
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }

    /// Lets `seconds` pass for every session.
    pub async fn age_sessions(&self, seconds: f64) {
        sqlx::query("update sessions set created_at = created_at - $1 * interval '1 second', stepped_up_at = stepped_up_at - $1 * interval '1 second'")
            .bind(seconds)
            .execute(&self.owner)
            .await
            .unwrap();
    }

    /// Events of a type about an account.
    pub async fn events(&self, email: &str, name: &str) -> i64 {
        sqlx::query_scalar("select count(*) from events where subject_id = $1 and type = $2")
            .bind(self.account(email).await)
            .bind(name)
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }
}
