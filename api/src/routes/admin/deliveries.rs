//! Mails as auditors and admins account for them.

use doorbook_core::clock::Timestamp;
use doorbook_core::notification::MailState;
use doorbook_core::service::admin::{MAILS_PAGE_MAX, MailEvent, MailFilter, MailStory, MailView};
use doorbook_core::value::{AccountId, DeliveryId};
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};

use super::ReasonBody;
use super::audit::TrailActor;
use crate::auth::{Admin, Auditor};
use crate::body::Strict;
use crate::problem::Problem;
use crate::routes::input::{Asked, Faults, command};
use crate::routes::{Chapter, Done};

pub struct Deliveries;

/// Mails of a page when no number is asked for.
const PAGE_DEFAULT: u32 = 50;

#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "lowercase")]
pub enum MailStateName {
    Queued,
    Deferred,
    Sent,
    Failed,
    Suppressed,
}

impl From<MailStateName> for MailState {
    fn from(name: MailStateName) -> Self {
        match name {
            MailStateName::Queued => Self::Queued,
            MailStateName::Deferred => Self::Deferred,
            MailStateName::Sent => Self::Sent,
            MailStateName::Failed => Self::Failed,
            MailStateName::Suppressed => Self::Suppressed,
        }
    }
}

#[derive(Object)]
pub struct DeliveryAnswer {
    id: uuid::Uuid,
    /// The event that promised it.
    event: uuid::Uuid,
    /// What it says, such as `verify` or `password_changed`.
    template: String,
    /// Who it is for: `owner`, `operator` (one of `ALERT_EMAILS`) or `webhook` (a POST to `ALERT_WEBHOOK_URL`).
    audience: String,
    /// The owner's; null of what is for nobody who has one.
    account: Option<uuid::Uuid>,
    /// The mailbox that it goes to: the account's present one, or the other one that it is about, or an operator's. Masked for
    /// auditors; null once that is gone, and of a webhook.
    to: Option<String>,
    /// `queued`, `deferred` (no server has taken it yet; tried again), `sent`, `failed` (refused, or given up after a day) or
    /// `suppressed` (nobody needed it when its turn came).
    state: String,
    attempts: i32,
    /// When it is tried next; null when it has its outcome or is being sent. RFC 3339, UTC, as all times.
    next_try_at: Option<String>,
    /// A worker is at it right now.
    being_sent: bool,
    /// What the mail server, or the webhook's, said last, without addresses and links; or why nobody needed the mail.
    server_answer: Option<String>,
    /// The same for every try, so that receivers can tell copies; of a webhook the `webhook-id`.
    message_id: String,
    queued_at: String,
    settled_at: Option<String>,
    /// The mail that this one was sent instead of, by an order.
    repeats: Option<uuid::Uuid>,
    /// The last of those that were sent instead of this one.
    repeated_by: Option<uuid::Uuid>,
}

#[derive(Object)]
pub struct DeliveriesAnswer {
    /// Newest first.
    deliveries: Vec<DeliveryAnswer>,
    /// Give it as `before` for the next page; null on the last.
    next: Option<uuid::Uuid>,
}

/// Something that happened to a mail.
#[derive(Object)]
pub struct DeliveryEvent {
    id: uuid::Uuid,
    /// `MailQueued`, `MailSent`, `MailDeferred`, `MailFailed` or `MailSuppressed`.
    #[oai(rename = "type")]
    name: String,
    at: String,
    actor: TrailActor,
    /// The fact itself, without personal data.
    payload: Any<serde_json::Value>,
}

#[derive(Object)]
pub struct DeliveryDetailAnswer {
    delivery: DeliveryAnswer,
    /// Its story, in order. Months that retention has dropped are gone from it.
    events: Vec<DeliveryEvent>,
}

#[derive(Object)]
pub struct ResendAnswer {
    /// The mail that goes out: a new one, or the same when it waited for its next try.
    id: uuid::Uuid,
}

#[derive(ApiResponse)]
pub enum Resent {
    /// A worker sends it as soon as it has time.
    #[oai(status = 202)]
    Accepted(Json<ResendAnswer>),
}

impl From<MailView> for DeliveryAnswer {
    fn from(view: MailView) -> Self {
        Self {
            id: view.id.0,
            event: view.event.0,
            template: view.template,
            audience: view.audience.as_str().to_owned(),
            account: view.account.map(|account| account.0),
            to: view.to,
            state: view.state.as_str().to_owned(),
            attempts: view.attempts,
            next_try_at: view.next_try_at.map(Timestamp::rfc3339),
            being_sent: view.is_being_sent,
            server_answer: view.server_answer,
            message_id: view.message_id,
            queued_at: view.queued_at.rfc3339(),
            settled_at: view.settled_at.map(Timestamp::rfc3339),
            repeats: view.repeats.map(|mail| mail.0),
            repeated_by: view.repeated_by.map(|mail| mail.0),
        }
    }
}

impl From<MailEvent> for DeliveryEvent {
    fn from(event: MailEvent) -> Self {
        Self {
            id: event.id.0,
            name: event.name,
            at: event.at.rfc3339(),
            actor: TrailActor { kind: event.actor_kind, id: event.actor },
            payload: Any(event.payload),
        }
    }
}

impl From<MailStory> for DeliveryDetailAnswer {
    fn from(story: MailStory) -> Self {
        Self { delivery: story.mail.into(), events: story.events.into_iter().map(Into::into).collect() }
    }
}

#[OpenApi(tag = "Chapter::Administration")]
impl Deliveries {
    /// List mails
    ///
    /// All that is asked for must be so. That a list was begun stands in the log, once an hour for each who asks for the same.
    #[oai(path = "/api/admin/deliveries/", method = "get", operation_id = "list_deliveries")]
    #[expect(clippy::too_many_arguments, reason = "each is one parameter of the query")]
    async fn list(
        &self,
        auditor: Auditor,
        asked: Asked,
        account: Query<Option<uuid::Uuid>>,
        state: Query<Option<MailStateName>>,
        /// The whole name, such as `verify`.
        #[oai(validator(max_length = 64))]
        template: Query<Option<String>>,
        /// `next` of the page before.
        before: Query<Option<uuid::Uuid>>,
        /// Mails a page, 1 to 100.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<DeliveriesAnswer>, Problem> {
        let filter =
            MailFilter { account: account.0.map(AccountId), state: state.0.map(Into::into), template: template.0 };
        let (before, limit) = (before.0.map(DeliveryId), limit.0.unwrap_or(PAGE_DEFAULT).min(MAILS_PAGE_MAX));
        let views =
            command(
                async move { asked.doorbook.search_mails(auditor.0, &filter, before, limit, &asked.context).await },
            )
            .await?;
        let full = views.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = views.last().filter(|_| full).map(|view| view.id.0);
        Ok(Json(DeliveriesAnswer { deliveries: views.into_iter().map(Into::into).collect(), next }))
    }

    /// Read a mail's story
    ///
    /// What happened to it, and who did it; what it says and the link that it may carry are its recipient's alone. That it was read
    /// stands in the log, once an hour for each reader.
    #[oai(path = "/api/admin/deliveries/:id/", method = "get", operation_id = "read_delivery")]
    async fn read(
        &self,
        auditor: Auditor,
        asked: Asked,
        id: Path<uuid::Uuid>,
    ) -> Result<Json<DeliveryDetailAnswer>, Problem> {
        let story =
            command(async move { asked.doorbook.view_mail(auditor.0, DeliveryId(id.0), &asked.context).await }).await?;
        Ok(Json(story.into()))
    }

    /// Have a mail sent anew
    ///
    /// One that waits for its next try is due now. Of one that has its outcome a repetition is queued, with the same wording and link, if
    /// that can still be used: 409 otherwise, and while a repetition is under way.
    #[oai(path = "/api/admin/deliveries/:id/resend/", method = "post", operation_id = "resend_delivery")]
    async fn resend(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Resent, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.reason])?;
        let mut faults = Faults::default();
        let Some(reason) = faults.reason(&body.0.reason) else { return faults.refuse() };
        let (caller, mail) = (admin.0, DeliveryId(id.0));
        let sent = command(async move {
            let context = asked.context.acting(caller.account);
            asked.doorbook.resend_mail(caller, mail, &reason, header.as_ref(), &context).await
        })
        .await?;
        Ok(Resent::Accepted(Json(ResendAnswer { id: sent.0 })))
    }

    /// Call a mail off
    ///
    /// It is suppressed, unless it has its outcome or is being sent: 409. What tells operators of an alert is theirs to call off, at the
    /// command line: 403.
    #[oai(path = "/api/admin/deliveries/:id/cancel/", method = "post", operation_id = "cancel_delivery")]
    async fn cancel(
        &self,
        admin: Admin,
        asked: Asked,
        id: Path<uuid::Uuid>,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        body: Strict<ReasonBody>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[&body.0.reason])?;
        let mut faults = Faults::default();
        let Some(reason) = faults.reason(&body.0.reason) else { return faults.refuse() };
        let (caller, mail) = (admin.0, DeliveryId(id.0));
        command(async move {
            let context = asked.context.acting(caller.account);
            asked.doorbook.cancel_mail(caller, mail, &reason, header.as_ref(), &context).await
        })
        .await?;
        Ok(Done::NoContent)
    }
}
