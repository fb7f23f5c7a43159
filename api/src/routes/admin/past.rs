//! One account's past: what it was at a time, what has changed between two, and why its logins were refused.

use doorbook_core::clock::Timestamp;
use doorbook_core::limit::Rule;
use doorbook_core::service::audit::{
    Change, Difference, Ended, EventRef, PastSession, Pending, REFUSALS_PAGE_MAX, RefusalView, RefusalsPage, StateView,
};
use doorbook_core::value::{AccountId, EventId};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::audit::TrailEvent;
use crate::auth::Auditor;
use crate::problem::Problem;
use crate::routes::Chapter;
use crate::routes::input::{Asked, Faults};

pub struct Pasts;

/// Refusals of a page when none are asked for.
const PAGE_DEFAULT: u32 = 20;

/// An event by its name, to be read by its id.
#[derive(Object)]
pub struct EventReference {
    position: i64,
    id: uuid::Uuid,
    /// Name of the event.
    #[oai(rename = "type")]
    name: String,
    /// RFC 3339, UTC, by the database's clock.
    at: String,
}

impl From<EventRef> for EventReference {
    fn from(event: EventRef) -> Self {
        Self { position: event.position, id: event.id.0, name: event.name, at: event.at.rfc3339() }
    }
}

fn references(events: Vec<EventRef>) -> Vec<EventReference> {
    events.into_iter().map(EventReference::from).collect()
}

#[derive(Object)]
pub struct PastSessionAnswer {
    id: uuid::Uuid,
    /// The login that it began with.
    begun: EventReference,
    /// Client address of the login.
    address: Option<String>,
    /// What the client called itself.
    device: Option<String>,
    /// Whether the device was remembered.
    device_remembered: bool,
}

impl From<PastSession> for PastSessionAnswer {
    fn from(session: PastSession) -> Self {
        Self {
            id: session.id.0,
            begun: session.begun.into(),
            address: session.address,
            device: session.user_agent,
            device_remembered: session.device_remembered,
        }
    }
}

/// Something that waited for its owner.
#[derive(Object)]
pub struct PendingAnswer {
    /// `verification`, `reset`, `email_change`, `email_change_undo`: the address was changed and could still be taken back; or `deletion`, likewise.
    what: String,
    since: String,
    /// The address that a change would lead to; masked for auditors.
    new_email: Option<String>,
}

impl From<Pending> for PendingAnswer {
    fn from(pending: Pending) -> Self {
        Self { what: pending.what.as_str().to_owned(), since: pending.since.rfc3339(), new_email: pending.new_email }
    }
}

#[derive(Object)]
pub struct PastStateAnswer {
    id: uuid::Uuid,
    /// The time that was asked for. RFC 3339, UTC, as all times.
    at: String,
    /// `absent` before the account was registered, else `active`, `disabled`, `frozen`, `leaving` or `erased`.
    status: String,
    /// Mailbox and names have been erased since.
    erased: bool,
    /// Masked for auditors, as are names.
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    email_verified_at: Option<String>,
    locale: Option<String>,
    /// `auditor`, `admin` or none.
    roles: Vec<String>,
    locked_at: Option<String>,
    /// Until when failed logins kept everybody out.
    blocked_until: Option<String>,
    reset_required_at: Option<String>,
    created_at: Option<String>,
    password_changed_at: Option<String>,
    last_login_at: Option<String>,
    /// Sessions that lived, newest first. One whose time had run out counts until the event that says so.
    sessions: Vec<PastSessionAnswer>,
    pending: Vec<PendingAnswer>,
    /// The last event of the account's own until then.
    last_event: Option<EventReference>,
}

impl From<StateView> for PastStateAnswer {
    fn from(state: StateView) -> Self {
        let time = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        Self {
            id: state.id.0,
            at: state.at.rfc3339(),
            status: state.status.to_owned(),
            erased: state.erased,
            email: state.email,
            first_name: state.first_name,
            last_name: state.last_name,
            email_verified_at: time(state.email_verified_at),
            locale: state.locale.map(|locale| locale.as_str().to_owned()),
            roles: state.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            locked_at: time(state.locked_at),
            blocked_until: time(state.blocked_until),
            reset_required_at: time(state.reset_required_at),
            created_at: time(state.created_at),
            password_changed_at: time(state.password_changed_at),
            last_login_at: time(state.last_login_at),
            sessions: state.sessions.into_iter().map(Into::into).collect(),
            pending: state.pending.into_iter().map(Into::into).collect(),
            last_event: state.last_event.map(Into::into),
        }
    }
}

#[derive(Object)]
pub struct ChangeAnswer {
    /// Name of the field, as the state has it; `session` for one that began or ended.
    field: String,
    /// As text; null when there was none.
    before: Option<String>,
    after: Option<String>,
    /// What it was and became has been erased.
    erased: bool,
    /// The events that changed it, in order.
    events: Vec<EventReference>,
}

impl From<Change> for ChangeAnswer {
    fn from(change: Change) -> Self {
        Self {
            field: change.field.to_owned(),
            before: change.before,
            after: change.after,
            erased: change.erased,
            events: references(change.events),
        }
    }
}

#[derive(Object)]
pub struct DifferenceAnswer {
    from: String,
    to: String,
    /// What is not what it was. What changed and changed back is not among it.
    changes: Vec<ChangeAnswer>,
}

impl From<Difference> for DifferenceAnswer {
    fn from(difference: Difference) -> Self {
        Self {
            from: difference.from.rfc3339(),
            to: difference.to.rfc3339(),
            changes: difference.changes.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Object)]
pub struct RefusalAnswer {
    event: TrailEvent,
    /// The rule that refused: `wrong_password`, `blocked` (too many failures in a short time: for a while nobody gets in), `locked`
    /// (too many in a row), `disabled`, `frozen` (its owner has closed it), `leaving` (its owner has asked for its deletion), `erased`,
    /// `email_not_verified`, `reset_required`, `token_reused` or `unknown_account`.
    rule: String,
    /// When the refusal ends by itself.
    until: Option<String>,
    /// What led to it, in order: the failures that were counted, or the event that made the account be refused.
    because: Vec<EventReference>,
    /// When it ended: by the event that is named, or by time. Null while it is in force, and for a failure after which nobody has
    /// logged in.
    ended_at: Option<String>,
    ended_by: Option<EventReference>,
}

impl From<RefusalView> for RefusalAnswer {
    fn from(refusal: RefusalView) -> Self {
        let (ended_at, ended_by) = match refusal.ended {
            Ended::Not => (None, None),
            Ended::ByTime(at) => (Some(at.rfc3339()), None),
            Ended::By(event) => (Some(event.at.rfc3339()), Some(event.into())),
        };
        Self {
            event: refusal.event.into(),
            rule: refusal.ground.as_str().to_owned(),
            until: refusal.until.map(Timestamp::rfc3339),
            because: references(refusal.because),
            ended_at,
            ended_by,
        }
    }
}

/// The rule by which failures count today.
#[derive(Object)]
pub struct LimitAnswer {
    failures: u32,
    window_seconds: u64,
    block_seconds: u64,
}

impl From<Rule> for LimitAnswer {
    fn from(rule: Rule) -> Self {
        Self { failures: rule.max, window_seconds: rule.window.as_secs(), block_seconds: rule.block.as_secs() }
    }
}

#[derive(Object)]
pub struct RefusalsAnswer {
    /// Newest first.
    refusals: Vec<RefusalAnswer>,
    /// So many failures in so long a window block for so long. It is today's rule: the log does not tell what it was.
    limit: LimitAnswer,
    /// Give it as `before` for the next page; null on the last.
    next: Option<uuid::Uuid>,
}

impl From<RefusalsPage> for RefusalsAnswer {
    fn from(page: RefusalsPage) -> Self {
        Self {
            refusals: page.refusals.into_iter().map(Into::into).collect(),
            limit: page.rule.into(),
            next: page.next.map(|event| event.0),
        }
    }
}

#[OpenApi(tag = "Chapter::Administration")]
impl Pasts {
    /// What an account was at a time
    ///
    /// Folded from the events that were sealed by then; nothing but the log is asked. That it was read stands in the log.
    #[oai(path = "/api/admin/audit/accounts/:id/state/", method = "get", operation_id = "read_past_state")]
    async fn state(
        &self,
        auditor: Auditor,
        asked: Asked,
        id: Path<uuid::Uuid>,
        /// The time; RFC 3339. Now, when none is given.
        #[oai(validator(max_length = 40))]
        at: Query<Option<String>>,
    ) -> Result<Json<PastStateAnswer>, Problem> {
        let mut faults = Faults::default();
        let at = faults.time("at", at.0.as_deref());
        faults.check()?;
        let state = asked.doorbook.account_state(auditor.0, AccountId(id.0), at, &asked.context).await?;
        Ok(Json(state.into()))
    }

    /// What has changed about an account between two times
    ///
    /// With the events that changed it: those recorded after the first time, until the second.
    #[oai(path = "/api/admin/audit/accounts/:id/difference/", method = "get", operation_id = "read_difference")]
    async fn difference(
        &self,
        auditor: Auditor,
        asked: Asked,
        id: Path<uuid::Uuid>,
        /// The earlier time; RFC 3339.
        #[oai(validator(max_length = 40))]
        from: Query<String>,
        /// The later one. Now, when none is given.
        #[oai(validator(max_length = 40))]
        to: Query<Option<String>>,
    ) -> Result<Json<DifferenceAnswer>, Problem> {
        let mut faults = Faults::default();
        let (from, to) = (faults.time("from", Some(&from.0)), faults.time("to", to.0.as_deref()));
        let Some(from) = from else { return faults.refuse() };
        faults.check()?;
        let to = to.unwrap_or_else(|| asked.doorbook.clock.now());
        let found = asked.doorbook.account_difference(auditor.0, AccountId(id.0), from, to, &asked.context).await?;
        Ok(Json(found.into()))
    }

    /// Why logins of an account were refused
    ///
    /// One entry for each failed login, each time in which all were refused, and each spent refresh token that came back; told from
    /// the events alone. Attempts in a time in which all are refused leave no event of their own.
    #[oai(path = "/api/admin/audit/accounts/:id/refusals/", method = "get", operation_id = "list_refusals")]
    async fn refusals(
        &self,
        auditor: Auditor,
        asked: Asked,
        id: Path<uuid::Uuid>,
        /// `next` of the page before.
        before: Query<Option<uuid::Uuid>>,
        /// Refusals a page, 1 to 100.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<RefusalsAnswer>, Problem> {
        let (account, before) = (AccountId(id.0), before.0.map(EventId));
        let limit = limit.0.unwrap_or(PAGE_DEFAULT).min(REFUSALS_PAGE_MAX);
        let page = asked.doorbook.login_refusals(auditor.0, account, before, limit, &asked.context).await?;
        Ok(Json(page.into()))
    }
}
