//! There is always an admin left: who could give the role back would otherwise have to be sought at the command line.

use crate::account::{Account, Role, Status};
use crate::service::append::Batch;
use crate::service::{Doorbook, Refusal};
use crate::store::query::accounts;
use crate::store::query::accounts::Loaded;

impl Doorbook {
    /// For every write after which an account may be no active admin any more: refuses when it was the last. Takes the guard of
    /// admins, which comes after all others.
    pub(crate) async fn keep_an_admin(
        &self,
        batch: &mut Batch<'_>,
        before: &Loaded,
        after: &Account,
    ) -> Result<(), Refusal> {
        if !is_active_admin(&before.account) || is_active_admin(after) {
            return Ok(());
        }
        let others = accounts::admins_but(&self.db, before.id).await?;
        if !others.any {
            return Err(Refusal::LastAdmin);
        }
        crate::failpoint!("admin.counted");
        batch.write.move_admins(others.version);
        Ok(())
    }
}

fn is_active_admin(account: &Account) -> bool {
    account.status == Status::Active && account.roles.contains(&Role::Admin)
}
