//! Alerts: what looks like an attack or an abuse of rights, and who has looked into it.

use doorbook_core::alert::Rule;
use doorbook_core::service::alert_list::{ALERTS_PAGE_MAX, AlertFilter, AlertView};
use doorbook_core::terms::Severity;
use doorbook_core::value::{AccountId, EventId};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::ReasonBody;
use crate::auth::Auditor;
use crate::body::Strict;
use crate::problem::Problem;
use crate::routes::input::{Asked, Faults, command};
use crate::routes::{Chapter, Done};

pub struct Alerts;

/// Alerts of a page when none are asked for.
const PAGE_DEFAULT: u32 = 50;

#[derive(Object)]
pub struct AcknowledgementAnswer {
    /// RFC 3339, UTC, by the database's clock.
    at: String,
    by: Option<uuid::Uuid>,
    reason: String,
}

#[derive(Object)]
pub struct AlertAnswer {
    /// Also the id of the event in the trail that it began with.
    id: uuid::Uuid,
    /// RFC 3339, UTC, by the database's clock.
    at: String,
    /// Name of the rule, such as `account_guessing`.
    rule: String,
    /// What it means, in one sentence.
    about: String,
    /// `info`, `warning` or `critical`.
    severity: String,
    /// The account that it happens to.
    account: Option<uuid::Uuid>,
    /// The account that does it.
    actor: Option<uuid::Uuid>,
    /// The view of the log that stands still.
    follower: Option<String>,
    /// How many there were, of what the rule counts.
    count: u64,
    /// From how many on it speaks.
    threshold: u64,
    /// Within how long; 0 where one event is enough.
    seconds: u64,
    /// The latest of them, at most ten, the oldest first.
    events: Vec<uuid::Uuid>,
    /// Null while nobody has looked into it.
    acknowledged: Option<AcknowledgementAnswer>,
}

impl From<AlertView> for AlertAnswer {
    fn from(view: AlertView) -> Self {
        let about = view.alert.about().to_owned();
        let AlertView { alert, acknowledged } = view;
        let id = |account: AccountId| account.0;
        Self {
            id: alert.id.0,
            at: alert.at.rfc3339(),
            rule: alert.rule,
            about,
            severity: alert.severity.as_str().to_owned(),
            account: alert.account.map(id),
            actor: alert.actor.map(id),
            follower: alert.follower,
            count: alert.evidence.count,
            threshold: alert.evidence.threshold,
            seconds: alert.evidence.seconds,
            events: alert.evidence.events.into_iter().map(|event| event.0).collect(),
            acknowledged: acknowledged.map(|it| AcknowledgementAnswer {
                at: it.at.rfc3339(),
                by: it.by.map(id),
                reason: it.reason,
            }),
        }
    }
}

#[derive(Object)]
pub struct AlertsPage {
    /// The newest first.
    alerts: Vec<AlertAnswer>,
    /// Give it as `before` for the next page; null on the last.
    next: Option<uuid::Uuid>,
}

/// The filter, or a problem that names every field that breaks a rule.
pub(crate) fn filter(
    rule: Option<&str>,
    severity: Option<&str>,
    acknowledged: Option<bool>,
) -> Result<AlertFilter, Problem> {
    let mut faults = Faults::default();
    let rule = faults.parsed("rule", rule, "must be the name of a rule, such as account_guessing", Rule::parse);
    let words = "must be one of: info, notice, warning, critical";
    let severity = faults.parsed("severity", severity, words, Severity::parse);
    faults.check()?;
    Ok(AlertFilter { rule, severity, acknowledged })
}

/// Where a page goes on that had so many.
pub(crate) fn next(found: &[AlertView], limit: u32) -> Option<EventId> {
    let is_full = u32::try_from(found.len()).is_ok_and(|count| count >= limit);
    found.last().filter(|_| is_full).map(|last| last.alert.id)
}

#[OpenApi(tag = "Chapter::Administration")]
impl Alerts {
    /// List alerts
    ///
    /// Newest first; all fields that are given must hold. That they were looked at is in the trail, once an hour for each who looks.
    #[oai(path = "/api/admin/alerts/", method = "get", operation_id = "list_alerts")]
    #[expect(clippy::too_many_arguments, reason = "one a query parameter")]
    async fn list(
        &self,
        auditor: Auditor,
        asked: Asked,
        /// Name of the rule.
        #[oai(validator(max_length = 64))]
        rule: Query<Option<String>>,
        /// This severity or a higher one.
        #[oai(validator(max_length = 16))]
        severity: Query<Option<String>>,
        /// Whether somebody has looked into it.
        acknowledged: Query<Option<bool>>,
        /// `next` of the page before.
        before: Query<Option<uuid::Uuid>>,
        /// Alerts a page, 1 to 100.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<AlertsPage>, Problem> {
        let filter = filter(rule.0.as_deref(), severity.0.as_deref(), acknowledged.0)?;
        let limit = limit.0.unwrap_or(PAGE_DEFAULT).min(ALERTS_PAGE_MAX);
        let before = before.0.map(EventId);
        let found = asked.doorbook.list_alerts(auditor.0, filter, before, limit, &asked.context).await?;
        let next = next(&found, limit).map(|id| id.0);
        Ok(Json(AlertsPage { alerts: found.into_iter().map(AlertAnswer::from).collect(), next }))
    }

    /// Acknowledge an alert
    ///
    /// Says who has looked into it and what came of it; the first to do so is the one who did. Auditors and admins may, but nobody for an
    /// alert about himself.
    #[oai(path = "/api/admin/alerts/:id/acknowledge/", method = "post", operation_id = "acknowledge_alert")]
    async fn acknowledge(
        &self,
        auditor: Auditor,
        asked: Asked,
        id: Path<uuid::Uuid>,
        body: Strict<ReasonBody>,
    ) -> Result<Done, Problem> {
        let mut faults = Faults::default();
        let Some(reason) = faults.reason(&body.0.reason) else { return faults.refuse() };
        command(
            async move { asked.doorbook.acknowledge_alert(auditor.0, EventId(id.0), &reason, &asked.context).await },
        )
        .await?;
        Ok(Done::NoContent)
    }
}
