//! Mails as auditors and admins see them: each with the event that promised it, how it stands and its whole story. What it says, and the
//! link that it may carry, nobody sees.

use std::collections::HashMap;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::notification::MailState;
use crate::operator::OperatorEvent;
use crate::service::access::{Caller, Sight};
use crate::service::mail::message_id;
use crate::service::{Context, Doorbook, Refusal};
use crate::store::StoreError;
use crate::store::keys::identifiers::Bucket;
use crate::store::project::outbox::Recipient;
use crate::store::query::deliveries::{Filter, Listed};
use crate::store::query::{accounts, deliveries, tokens};
use crate::store::{log, log::StoredEvent};
use crate::value::{AccountId, DeliveryId, Email, EventId, StreamId, TokenId};

/// Most mails of one page.
pub const MAILS_PAGE_MAX: u32 = 100;
/// Events of one mail that are shown. One that is tried for a day has some thirty.
const STORY_MAX: i64 = 500;
/// Longest name of a template that is asked for.
const TEMPLATE_MAX: usize = 64;

/// Which mails are asked for. All that is given must be so.
#[derive(Clone, Debug, Default)]
pub struct MailFilter {
    pub account: Option<AccountId>,
    pub state: Option<MailState>,
    pub template: Option<String>,
}

/// Who a mail is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The account's owner.
    Owner,
    /// Somebody of ALERT_EMAILS.
    Operator,
    /// ALERT_WEBHOOK_URL, by POST.
    Webhook,
}

impl Audience {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Operator => "operator",
            Self::Webhook => "webhook",
        }
    }

    const fn of(row: &Listed) -> Self {
        match (row.account_id, &row.address_digest) {
            (Some(_), _) => Self::Owner,
            (None, Some(_)) => Self::Operator,
            (None, None) => Self::Webhook,
        }
    }
}

/// A mail as somebody with a role sees it.
#[derive(Debug)]
pub struct MailView {
    pub id: DeliveryId,
    /// The event that promised it.
    pub event: EventId,
    pub template: String,
    pub audience: Audience,
    /// The owner's.
    pub account: Option<AccountId>,
    /// The mailbox that it goes to: the account's present one, or the other one that it is about, or an operator's. `None` once that is
    /// gone, and of a webhook, whose URL is a secret.
    pub to: Option<String>,
    pub state: MailState,
    pub attempts: i32,
    /// When it is tried next; `None` when it has its outcome, or is being sent.
    pub next_try_at: Option<Timestamp>,
    /// A worker is at it right now.
    pub is_being_sent: bool,
    /// What the mail server said last, or why nobody needed it. Addresses and links are taken out before it is kept.
    pub server_answer: Option<String>,
    /// Of a webhook the `webhook-id`.
    pub message_id: String,
    pub queued_at: Timestamp,
    pub settled_at: Option<Timestamp>,
    /// The mail that this one was sent instead of, and the last of those that were sent instead of this one.
    pub repeats: Option<DeliveryId>,
    pub repeated_by: Option<DeliveryId>,
}

/// What happened to a mail, and who did it.
#[derive(Debug)]
pub struct MailEvent {
    pub id: EventId,
    pub name: String,
    pub at: Timestamp,
    pub actor_kind: String,
    pub actor: Option<Uuid>,
    pub payload: serde_json::Value,
}

#[derive(Debug)]
pub struct MailStory {
    pub mail: MailView,
    /// In order. Months that retention has dropped are gone from it.
    pub events: Vec<MailEvent>,
}

impl MailFilter {
    /// Names of what is searched by, for the trail.
    fn fields(&self) -> Vec<String> {
        let given = [
            ("account", self.account.is_some()),
            ("state", self.state.is_some()),
            ("template", self.template.is_some()),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name);
        std::iter::once("deliveries").chain(given).map(str::to_owned).collect()
    }

    /// Who searches for what.
    fn bucket(&self, caller: Caller) -> Bucket {
        let account = self.account.map(|account| account.0.to_string()).unwrap_or_default();
        let state = self.state.map_or("", MailState::as_str);
        let template = self.template.as_deref().unwrap_or_default();
        Bucket::new(
            "deliveries",
            &[caller.account.0.as_bytes(), account.as_bytes(), state.as_bytes(), template.as_bytes()],
        )
    }

    fn within(&self, before: Option<DeliveryId>) -> Filter<'_> {
        Filter { account: self.account, state: self.state, template: self.template.as_deref(), before }
    }
}

impl From<StoredEvent> for MailEvent {
    fn from(event: StoredEvent) -> Self {
        Self {
            id: event.event_id,
            name: event.name,
            at: event.recorded_at,
            actor_kind: event.actor_kind,
            actor: event.actor_id,
            payload: event.payload,
        }
    }
}

impl Doorbook {
    /// A page of mails, newest first, older than `before`. That somebody searched is an event, once an hour for each who searches for
    /// the same.
    pub async fn search_mails(
        &self,
        caller: Caller,
        filter: &MailFilter,
        before: Option<DeliveryId>,
        limit: u32,
        context: &Context,
    ) -> Result<Vec<MailView>, Refusal> {
        // No template has such a name; nothing is noted of what cannot be. (Postgres refuses a text with a NUL.)
        let is_name =
            |template: &String| template.len() <= TEMPLATE_MAX && template.bytes().all(|byte| byte.is_ascii_graphic());
        if !filter.template.as_ref().is_none_or(is_name) {
            return Ok(Vec::new());
        }
        let searched = OperatorEvent::AuditSearched { fields: filter.fields() };
        self.note_hourly(caller, &filter.bucket(caller), filter.account, searched, context).await?;
        let sight = self.sight(caller).await?;
        let limit = i64::from(limit.clamp(1, MAILS_PAGE_MAX));
        self.mail_views(deliveries::listed(&self.db, filter.within(before), limit).await?, sight).await
    }

    /// A page of mails, as an operator sees them.
    pub async fn list_mails(
        &self,
        filter: &MailFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<MailView>, Refusal> {
        let limit = i64::from(limit.clamp(1, MAILS_PAGE_MAX));
        self.mail_views(deliveries::listed(&self.db, filter.within(before), limit).await?, Sight::Plain).await
    }

    /// One mail with its story, as an operator sees it.
    pub async fn mail_by_id(&self, mail: DeliveryId) -> Result<MailStory, Refusal> {
        let row = deliveries::of_ids(&self.db, &[mail.0]).await?.pop().ok_or(Refusal::NotFound)?;
        self.mail_story(row, Sight::Plain).await
    }

    /// One mail with its story. That it was looked at is an event, once an hour for each who looks.
    pub async fn view_mail(&self, caller: Caller, mail: DeliveryId, context: &Context) -> Result<MailStory, Refusal> {
        let row = deliveries::of_ids(&self.db, &[mail.0]).await?.pop().ok_or(Refusal::NotFound)?;
        let bucket = Bucket::new("delivery", &[caller.account.0.as_bytes(), mail.0.as_bytes()]);
        let looked = OperatorEvent::AuditSearched { fields: vec!["delivery".to_owned()] };
        self.note_hourly(caller, &bucket, row.account_id, looked, context).await?;
        let sight = self.sight(caller).await?;
        self.mail_story(row, sight).await
    }

    async fn mail_story(&self, row: Listed, sight: Sight) -> Result<MailStory, Refusal> {
        let events = log::of_stream(&self.db, StreamId(row.delivery_id.0), STORY_MAX).await?;
        let mail = self.mail_views(vec![row], sight).await?.pop().ok_or(Refusal::NotFound)?;
        Ok(MailStory { mail, events: events.into_iter().map(Into::into).collect() })
    }

    async fn mail_views(&self, rows: Vec<Listed>, sight: Sight) -> Result<Vec<MailView>, Refusal> {
        let mailboxes = self.mailboxes(&rows).await?;
        rows.into_iter().map(|row| self.mail_view(row, &mailboxes, sight)).collect()
    }

    fn mail_view(
        &self,
        row: Listed,
        mailboxes: &HashMap<DeliveryId, String>,
        sight: Sight,
    ) -> Result<MailView, Refusal> {
        let state = state_of(&row)?;
        let to = mailboxes.get(&row.delivery_id).cloned();
        let audience = Audience::of(&row);
        let message_id = match audience {
            Audience::Owner | Audience::Operator => message_id(row.delivery_id, &row.template, &self.policy.site),
            Audience::Webhook => row.event_id.to_string(),
        };
        let waits = !state.is_settled() && matches!(row.job_state.as_deref(), Some("due" | "dispatched"));
        Ok(MailView {
            id: row.delivery_id,
            event: row.event_id,
            message_id,
            template: row.template,
            audience,
            account: row.account_id,
            to: match sight {
                Sight::Plain => to,
                Sight::Masked => to.and_then(|to| Email::parse(&to).ok()).map(|to| to.masked()),
            },
            state,
            attempts: row.attempts,
            next_try_at: row.run_at.filter(|_| waits),
            is_being_sent: row.job_state.as_deref() == Some("running"),
            server_answer: row.server_answer,
            queued_at: row.created_at,
            settled_at: row.settled_at,
            repeats: row.repeats,
            repeated_by: row.repeated_by,
        })
    }

    /// Where mails go, as far as that is known.
    async fn mailboxes(&self, rows: &[Listed]) -> Result<HashMap<DeliveryId, String>, Refusal> {
        let owners: Vec<Uuid> = rows.iter().filter_map(|row| row.account_id).map(|account| account.0).collect();
        let owners: HashMap<AccountId, _> = accounts::of_ids(&self.db, &self.vault, &owners)
            .await?
            .into_iter()
            .map(|owner| (owner.id, owner))
            .collect();
        let others: Vec<Uuid> = rows.iter().filter_map(other_mailbox).map(|token| token.0).collect();
        let others: HashMap<TokenId, _> = tokens::details(&self.db, &others).await?.into_iter().collect();
        let mut mailboxes = HashMap::new();
        for row in rows {
            let operator = row.address_digest.as_deref();
            let operator = operator.and_then(|digest| self.policy.alerts.operator_of(row.delivery_id, digest));
            mailboxes.extend(operator.map(|mailbox| (row.delivery_id, mailbox.to_owned())));
            let Some(owner) = row.account_id.and_then(|account| owners.get(&account)) else { continue };
            let mailbox = match (other_mailbox(row), &owner.data_key) {
                (None, _) => owner.account.profile.as_ref().map(|profile| profile.email.clone()),
                (Some(token), Some(key)) => {
                    others.get(&token).map(|sealed| key.key.open_json(token.0, sealed)).transpose()?
                }
                (Some(_), None) => None,
            };
            mailboxes.extend(mailbox.map(|mailbox| (row.delivery_id, mailbox)));
        }
        Ok(mailboxes)
    }
}

pub(super) fn state_of(row: &Listed) -> Result<MailState, StoreError> {
    let odd = || StoreError::Inconsistent(format!("delivery {}: unknown state", row.delivery_id));
    MailState::parse(&row.state).ok_or_else(odd)
}

/// The token that names the mailbox, of a mail that does not go to the account's own.
fn other_mailbox(row: &Listed) -> Option<TokenId> {
    row.token_id.filter(|_| row.recipient == Recipient::Token.as_str())
}
