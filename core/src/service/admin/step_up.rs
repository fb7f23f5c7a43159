//! Giving the password again: what is dangerous asks for a proof that is not older than a few minutes.

use std::time::Duration;

use crate::password::PasswordPlain;
use crate::service::access::Caller;
use crate::service::{Context, Doorbook, Refusal};
use crate::store::query::{accounts, sessions};

/// How long a login or a step-up counts. Source: the time after which a screen that was left alone is locked.
const STEP_UP_LIFETIME: Duration = Duration::from_mins(10);

impl Doorbook {
    /// Proves the password once more in this session. A wrong one counts like a failed login.
    pub async fn step_up(&self, caller: Caller, password: &PasswordPlain, context: &Context) -> Result<(), Refusal> {
        let owner = accounts::by_id(&self.db, &self.vault, caller.account).await?.ok_or(Refusal::Unauthenticated)?;
        self.confirm_password(&owner, password, "password", &[], context).await?;
        // A session that somebody has ended meanwhile stays ended.
        if sessions::step_up(&self.db, caller.session).await? { Ok(()) } else { Err(Refusal::Unauthenticated) }
    }

    pub(in crate::service) async fn require_step_up(&self, caller: Caller) -> Result<(), Refusal> {
        if sessions::is_fresh(&self.db, caller.session, STEP_UP_LIFETIME).await? {
            Ok(())
        } else {
            Err(Refusal::StepUpRequired)
        }
    }
}
