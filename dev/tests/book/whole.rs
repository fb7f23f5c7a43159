//! Whether a database is whole: no half states, and the same rows as a replay of its log.

use doorbook_core::store::keys::Vault;
use doorbook_core::store::{Db, rebuild};
use doorbook_core::token::keys::RootRing;
use doorbook_dev::halves::HALVES;

use crate::common::{House, secrets};

impl House {
    /// Nothing is half written: what one statement should have written is all there or not at all, and a replay of the log comes to
    /// the same rows.
    pub async fn assert_whole(&self) {
        for (what, sql) in HALVES {
            assert_eq!(self.number(sql).await, 0, "{what}");
        }
        let secrets = secrets();
        let owner = Db::from(self.owner.clone());
        let vault = Vault::open(&owner, RootRing::new(&secrets.secret_key, &[])).await.unwrap();
        let report = rebuild::check(&owner, &vault).await.unwrap();
        assert!(report.differences.is_empty(), "live rows are what the events come to: {:?}", report.differences);
    }
}
