//! The trail: searching it, reading one event with its context, seeing what is masked.

use std::net::IpAddr;

use doorbook_core::service::audit::{Filter, TrailEntry};
use doorbook_core::terms::Severity;
use doorbook_core::value::{AccountId, EventId, SessionId};
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ReasonBody;
use crate::auth::Auditor;
use crate::body::{FIELD_NAME_MAX, Strict};
use crate::problem::{FieldError, Problem};
use crate::routes::Chapter;
use crate::routes::input::{Asked, Faults, command};

pub struct Audit;

/// Entries of a page when none are asked for.
const PAGE_DEFAULT: u32 = 50;
/// Most entries of a page.
const PAGE_MAX: u32 = 200;

#[derive(Object)]
pub struct TrailActor {
    /// `account`, `stranger`, `operator` (at the command line) or `system`.
    pub(super) kind: String,
    /// The account that did it.
    pub(super) id: Option<uuid::Uuid>,
}

/// Personal data of an event. Mailboxes and names are masked for auditors.
#[derive(Object)]
pub struct TrailPersonal {
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    /// Client address.
    address: Option<String>,
    /// What the client called itself.
    device: Option<String>,
}

#[derive(Object)]
pub struct TrailEvent {
    /// Place in the log: dense, from 1, never given to another event.
    position: i64,
    id: uuid::Uuid,
    /// Kind of the stream: `account`, `session`, `attempts`, `notification`, `operator`, `security`.
    kind: String,
    /// Name of the event, such as `LoggedIn`.
    #[oai(rename = "type")]
    name: String,
    schema_version: i16,
    /// `info`, `notice`, `warning` or `critical`; null for an event that this build cannot read.
    severity: Option<String>,
    /// RFC 3339, UTC, by the database's clock.
    at: String,
    /// The account that it is about.
    account: Option<uuid::Uuid>,
    actor: TrailActor,
    session_id: Option<uuid::Uuid>,
    /// Trace id of the request; the service's logs name it too.
    trace_id: Option<uuid::Uuid>,
    /// The event that caused it.
    cause: Option<uuid::Uuid>,
    /// The fact itself, without personal data.
    payload: Any<serde_json::Value>,
    personal: Option<TrailPersonal>,
    /// It had personal data, which has been erased.
    erased: bool,
}

impl From<TrailEntry> for TrailEvent {
    fn from(entry: TrailEntry) -> Self {
        Self {
            position: entry.position,
            id: entry.id.0,
            kind: entry.kind,
            name: entry.name,
            schema_version: entry.schema_version,
            severity: entry.severity.map(|severity| severity.as_str().to_owned()),
            at: entry.at.rfc3339(),
            account: entry.account,
            actor: TrailActor { kind: entry.actor_kind, id: entry.actor },
            session_id: entry.session,
            trace_id: entry.trace,
            cause: entry.cause,
            payload: Any(entry.payload),
            personal: entry.personal.map(|personal| TrailPersonal {
                email: personal.email,
                first_name: personal.first_name,
                last_name: personal.last_name,
                address: personal.address,
                device: personal.user_agent,
            }),
            erased: entry.erased,
        }
    }
}

#[derive(Object)]
pub struct TrailPage {
    /// Newest first. A page may be short, or empty, and still have a next one: each looks at a bounded part of the log.
    events: Vec<TrailEvent>,
    /// Give it as `cursor` with the same search for the next page; null on the last.
    next: Option<String>,
}

#[derive(Object)]
pub struct TrailDelivery {
    id: uuid::Uuid,
    template: String,
    /// `queued`, `deferred`, `sent`, `failed` or `suppressed`.
    state: String,
    attempts: i32,
    /// What the mail server said last.
    server_answer: Option<String>,
}

#[derive(Object)]
pub struct TrailContext {
    event: TrailEvent,
    /// What led to it, the nearest first.
    causes: Vec<TrailEvent>,
    /// What it led to, in order; at most 100.
    caused: Vec<TrailEvent>,
    /// Mails that it promised.
    deliveries: Vec<TrailDelivery>,
}

impl TrailEvent {
    /// Cells of the CSV form, in the order of its head.
    pub(super) fn cells(self) -> [String; 20] {
        let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        let personal = self.personal.map(|it| [it.email, it.address, it.device, it.first_name, it.last_name]);
        let [email, address, device, first_name, last_name] =
            personal.unwrap_or_default().map(Option::unwrap_or_default);
        [
            self.position.to_string(),
            self.id.to_string(),
            self.at,
            self.name,
            self.severity.unwrap_or_default(),
            self.kind,
            id(self.account),
            self.actor.kind,
            id(self.actor.id),
            id(self.session_id),
            id(self.trace_id),
            id(self.cause),
            email,
            address,
            device,
            self.erased.to_string(),
            self.payload.0.to_string(),
            first_name,
            last_name,
            self.schema_version.to_string(),
        ]
    }
}

fn events(entries: Vec<TrailEntry>) -> Vec<TrailEvent> {
    entries.into_iter().map(TrailEvent::from).collect()
}

/// The fields of a search as they are sent.
#[derive(Default, Deserialize)]
pub(crate) struct Asking {
    account: Option<String>,
    actor: Option<String>,
    session: Option<String>,
    #[serde(rename = "type")]
    name: Option<String>,
    severity: Option<String>,
    address: Option<String>,
    network: Option<String>,
    email: Option<String>,
    email_domain: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// The names of these fields.
const FIELDS: [&str; 11] =
    ["account", "actor", "session", "type", "severity", "address", "network", "email", "email_domain", "from", "to"];

/// Refuses fields that are neither of a search nor among these others: a filter whose name is misspelt would be none, and everything found.
pub(super) fn refuse_unknown(request: &Request, others: &[&str]) -> Result<(), Problem> {
    let given: Vec<(String, IgnoredAny)> = request.params().map_err(|_| Problem::bad_request())?;
    let is_unknown = |name: &&str| !FIELDS.contains(name) && !others.contains(name);
    let unknown = given.iter().map(|(name, _)| name.as_str()).filter(is_unknown);
    let short = unknown.map(|name| name.chars().take(FIELD_NAME_MAX).collect::<String>());
    let faults: Vec<_> =
        short.map(|name| FieldError::new(name, "unknown_field", "This field is not known here.")).collect();
    if faults.is_empty() { Ok(()) } else { Err(Problem::validation(faults)) }
}

/// That a search asks for nothing that is not known.
pub(crate) struct Known;

impl<'a> FromRequest<'a> for Known {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        refuse_unknown(request, &["cursor", "limit"])?;
        Ok(Self)
    }
}

impl Asking {
    /// The filter, or a problem that names every field that breaks a rule.
    pub(crate) fn parse(self) -> Result<Filter, Problem> {
        let mut faults = Faults::default();
        let mut id = |field, text: Option<&str>| faults.parsed(field, text, "must be a UUID", |it| it.parse().ok());
        let account: Option<uuid::Uuid> = id("account", self.account.as_deref());
        let (actor, session) = (id("actor", self.actor.as_deref()), id("session", self.session.as_deref()));
        let severity = faults.parsed(
            "severity",
            self.severity.as_deref(),
            "must be one of: info, notice, warning, critical",
            Severity::parse,
        );
        let address = faults.parsed("address", self.address.as_deref(), "must be an IP address", |it| it.parse().ok());
        let rule = "must be an IPv4 network of 24 bits or an IPv6 network of 48, such as 203.0.113.0/24";
        let network = faults.parsed("network", self.network.as_deref(), rule, network);
        let (from, to) = (faults.time("from", self.from.as_deref()), faults.time("to", self.to.as_deref()));
        let email = self.email.as_deref().and_then(|text| faults.email("email", text));
        faults.check()?;
        Ok(Filter {
            account: account.map(AccountId),
            actor: actor.map(AccountId),
            session: session.map(SessionId),
            name: self.name,
            email_domain: self.email_domain,
            severity,
            address,
            network,
            email,
            from,
            to,
        })
    }
}

fn network(text: &str) -> Option<IpAddr> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    (bits == if address.is_ipv4() { "24" } else { "48" }).then_some(address)
}

#[OpenApi(tag = "Chapter::Administration")]
impl Audit {
    /// Search the trail
    ///
    /// Sealed events, newest first; all fields that are given must hold. Personal data is sealed, so there is no search for parts of it. One
    /// search is one event in the trail, however many pages are read.
    #[oai(path = "/api/admin/audit/events/", method = "get", operation_id = "search_audit")]
    #[expect(clippy::too_many_arguments, reason = "one a query parameter")]
    async fn search(
        &self,
        auditor: Auditor,
        asked: Asked,
        _known: Known,
        /// The account that the event is about.
        account: Query<Option<uuid::Uuid>>,
        /// The account that did it.
        actor: Query<Option<uuid::Uuid>>,
        session: Query<Option<uuid::Uuid>>,
        /// Name of the event.
        #[oai(name = "type", validator(max_length = 64))]
        name: Query<Option<String>>,
        /// This severity or a higher one.
        #[oai(validator(max_length = 16))]
        severity: Query<Option<String>>,
        /// Client address.
        #[oai(validator(max_length = 45))]
        address: Query<Option<String>>,
        /// Network of the client, an IPv4 /24 or an IPv6 /48.
        #[oai(validator(max_length = 49))]
        network: Query<Option<String>>,
        /// All events of every account that ever had this address.
        #[oai(validator(max_length = 254))]
        email: Query<Option<String>>,
        /// Events that name an address of this domain.
        #[oai(validator(max_length = 253))]
        email_domain: Query<Option<String>>,
        /// Recorded at this time or later; RFC 3339.
        #[oai(validator(max_length = 40))]
        from: Query<Option<String>>,
        /// Recorded before this time.
        #[oai(validator(max_length = 40))]
        to: Query<Option<String>>,
        /// `next` of the page before, of the same search.
        #[oai(validator(max_length = 64))]
        cursor: Query<Option<String>>,
        /// Entries a page, 1 to 200.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<TrailPage>, Problem> {
        let filter = Asking {
            account: account.0.map(|id| id.to_string()),
            actor: actor.0.map(|id| id.to_string()),
            session: session.0.map(|id| id.to_string()),
            name: name.0,
            severity: severity.0,
            address: address.0,
            network: network.0,
            email: email.0,
            email_domain: email_domain.0,
            from: from.0,
            to: to.0,
        }
        .parse()?;
        let limit = limit.0.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX);
        let page = asked.doorbook.search_trail(auditor.0, &filter, cursor.0.as_deref(), limit, &asked.context).await?;
        Ok(Json(TrailPage { events: events(page.entries), next: page.next }))
    }

    /// Read one event
    ///
    /// With what led to it, what it led to, and what became of its mails.
    #[oai(path = "/api/admin/audit/events/:id/", method = "get", operation_id = "read_audit_event")]
    async fn read(&self, auditor: Auditor, asked: Asked, id: Path<uuid::Uuid>) -> Result<Json<TrailContext>, Problem> {
        let found = asked.doorbook.trail_event(auditor.0, EventId(id.0), &asked.context).await?;
        Ok(Json(TrailContext {
            event: found.event.into(),
            causes: events(found.causes),
            caused: events(found.caused),
            deliveries: found
                .deliveries
                .into_iter()
                .map(|delivery| TrailDelivery {
                    id: delivery.id,
                    template: delivery.template,
                    state: delivery.state,
                    attempts: delivery.attempts,
                    server_answer: delivery.server_answer,
                })
                .collect(),
        }))
    }

    /// See what is masked
    ///
    /// One event with nothing masked. Who looked, and why, goes into the trail.
    #[oai(path = "/api/admin/audit/events/:id/reveal/", method = "post", operation_id = "reveal_audit_event")]
    async fn reveal(
        &self,
        auditor: Auditor,
        asked: Asked,
        id: Path<uuid::Uuid>,
        body: Strict<ReasonBody>,
    ) -> Result<Json<TrailEvent>, Problem> {
        let mut faults = Faults::default();
        let Some(reason) = faults.reason(&body.0.reason) else { return faults.refuse() };
        let entry =
            command(async move { asked.doorbook.reveal(auditor.0, EventId(id.0), reason, &asked.context).await })
                .await?;
        Ok(Json(entry.into()))
    }
}
