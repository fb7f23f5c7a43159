//! What admins do to accounts. Each order has a reason, which stands in the log for good.

use doorbook_core::account::Role;
use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::value::{AccountId, SessionId};
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{ReasonBody, RoleName};
use crate::auth::Admin;
use crate::body::Strict;
use crate::problem::Problem;
use crate::routes::input::{Asked, Faults, command};
use crate::routes::{Chapter, Done};

pub struct Orders;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleBody {
    role: RoleName,
    /// Why this is done, for those who read the log. Name a case, not a person: it stays there, also when the account is erased.
    #[oai(validator(min_length = 1, max_length = 500))]
    reason: String,
}

/// What every order comes with.
struct Call {
    caller: Caller,
    asked: Asked,
    key: Option<String>,
    account: AccountId,
}

impl Call {
    async fn give(self, what: Intervention, reason: &str) -> Result<Done, Problem> {
        let Self { caller, asked, key, account } = self;
        let role = match what {
            Intervention::GrantRole(role) | Intervention::RevokeRole(role) => Role::as_str(role),
            _ => "",
        };
        let header = asked.idempotency(key, &[role, reason])?;
        let mut faults = Faults::default();
        let Some(reason) = faults.reason(reason) else { return faults.refuse() };
        let order = Order::new(what, reason);
        command(async move {
            let context = asked.context.acting(caller.account);
            asked.doorbook.administer(caller, account, &order, header.as_ref(), &context).await
        })
        .await?;
        Ok(Done::NoContent)
    }
}

/// That an account was erased.
#[derive(Object)]
pub struct ErasureAnswer {
    erased_at: String,
    /// Backups of keys that were taken before the erasure are to be deleted by then: until then the data could be brought back from them.
    key_backups_until: String,
    /// Both, the account and the event, as a signed note (C2SP); by the service's key that signs checkpoints.
    receipt: String,
}

#[OpenApi(tag = "Chapter::Administration")]
impl Orders {
    /// Disable an account
    ///
    /// Ends its sessions and refuses its logins until it is enabled. Needs a login or a step-up within ten minutes. The last active admin
    /// stays: 409.
    #[oai(path = "/api/admin/accounts/:id/disable/", method = "post", operation_id = "disable_account")]
    async fn disable(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Done, Problem> {
        let call = Call { caller: admin.0, asked, key: key.0, account: AccountId(id.0) };
        call.give(Intervention::Disable, &body.0.reason).await
    }

    /// Enable an account
    ///
    /// Of an account that its owner has asked to delete, it takes that back.
    #[oai(path = "/api/admin/accounts/:id/enable/", method = "post", operation_id = "enable_account")]
    async fn enable(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Done, Problem> {
        let call = Call { caller: admin.0, asked, key: key.0, account: AccountId(id.0) };
        call.give(Intervention::Enable, &body.0.reason).await
    }

    /// Unlock an account
    ///
    /// Lifts the lock of a hundred failed logins in a row, and blocks that time would lift.
    #[oai(path = "/api/admin/accounts/:id/unlock/", method = "post", operation_id = "unlock_account")]
    async fn unlock(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Done, Problem> {
        let call = Call { caller: admin.0, asked, key: key.0, account: AccountId(id.0) };
        call.give(Intervention::Unlock, &body.0.reason).await
    }

    /// Force a password reset
    ///
    /// Ends all sessions; the password opens nothing any more, and the owner is mailed a link to set another. Nobody else sees the link.
    /// Needs a login or a step-up within ten minutes. 409 when the account is disabled.
    #[oai(path = "/api/admin/accounts/:id/force-reset/", method = "post", operation_id = "force_reset")]
    async fn force_reset(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Done, Problem> {
        let call = Call { caller: admin.0, asked, key: key.0, account: AccountId(id.0) };
        call.give(Intervention::ForceReset, &body.0.reason).await
    }

    /// End all sessions of an account
    #[oai(path = "/api/admin/accounts/:id/sessions/revoke/", method = "post", operation_id = "revoke_sessions")]
    async fn revoke_sessions(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Done, Problem> {
        let call = Call { caller: admin.0, asked, key: key.0, account: AccountId(id.0) };
        call.give(Intervention::RevokeSessions, &body.0.reason).await
    }

    /// End one session of an account
    ///
    /// A session of another account is answered like one that does not exist.
    #[oai(path = "/api/admin/accounts/:id/sessions/:session/", method = "delete", operation_id = "revoke_session")]
    async fn revoke_session(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        session: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.reason])?;
        let mut faults = Faults::default();
        let Some(reason) = faults.reason(&body.0.reason) else { return faults.refuse() };
        let (caller, account, session) = (admin.0, AccountId(id.0), SessionId(session.0));
        command(async move {
            let context = asked.context.acting(caller.account);
            asked.doorbook.end_session_of(caller, account, session, &reason, header.as_ref(), &context).await
        })
        .await?;
        Ok(Done::NoContent)
    }

    /// Grant a role
    ///
    /// Needs a login or a step-up within ten minutes.
    #[oai(path = "/api/admin/accounts/:id/roles/grant/", method = "post", operation_id = "grant_role")]
    async fn grant_role(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<RoleBody>,
    ) -> Result<Done, Problem> {
        let call = Call { caller: admin.0, asked, key: key.0, account: AccountId(id.0) };
        call.give(Intervention::GrantRole(body.0.role.into()), &body.0.reason).await
    }

    /// Revoke a role
    ///
    /// Needs a login or a step-up within ten minutes. The last active admin stays one: 409.
    #[oai(path = "/api/admin/accounts/:id/roles/revoke/", method = "post", operation_id = "revoke_role")]
    async fn revoke_role(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<RoleBody>,
    ) -> Result<Done, Problem> {
        let call = Call { caller: admin.0, asked, key: key.0, account: AccountId(id.0) };
        call.give(Intervention::RevokeRole(body.0.role.into()), &body.0.reason).await
    }

    /// Erase an account
    ///
    /// At once and for good: its key and all that is about its person go, its events stay and tell no more who it was, and its address may
    /// register anew. Needs a login or a step-up within ten minutes. Given again, it answers with the same receipt. The last active admin
    /// stays: 409.
    #[oai(path = "/api/admin/accounts/:id/erase/", method = "post", operation_id = "erase_account")]
    async fn erase(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Json<ErasureAnswer>, Problem> {
        let (doorbook, account) = (asked.doorbook.clone(), AccountId(id.0));
        let call = Call { caller: admin.0, asked, key: key.0, account };
        call.give(Intervention::Erase, &body.0.reason).await?;
        let receipt = doorbook.erasure_receipt(account).await?;
        Ok(Json(ErasureAnswer {
            erased_at: receipt.erased_at.rfc3339(),
            key_backups_until: receipt.backups_until.rfc3339(),
            receipt: receipt.note,
        }))
    }
}
