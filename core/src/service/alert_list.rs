//! Alerts as auditors and admins see them, and that somebody has taken note.

use super::access::{Caller, Right};
use super::alerts::Raised;
use super::append::Batch;
use super::{Context, Doorbook, Refusal, retrying};
use crate::alert::{Rule, SecurityEvent};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::operator::OperatorEvent;
use crate::store::alerts::{self, Listed, Query};
use crate::store::keys::identifiers::Bucket;
use crate::terms::Severity;
use crate::value::{AccountId, EventId, StreamId};

/// Most alerts of one page.
pub const ALERTS_PAGE_MAX: u32 = 100;

/// Which alerts are asked for. All that is given must be so.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlertFilter {
    pub rule: Option<Rule>,
    /// This severity or a higher one.
    pub severity: Option<Severity>,
    pub acknowledged: Option<bool>,
}

/// That somebody has taken note of an alert.
#[derive(Debug)]
pub struct Acknowledgement {
    pub at: Timestamp,
    pub by: Option<AccountId>,
    pub reason: String,
}

#[derive(Debug)]
pub struct AlertView {
    pub alert: Raised,
    pub acknowledged: Option<Acknowledgement>,
}

impl TryFrom<Listed> for AlertView {
    type Error = Refusal;

    fn try_from(listed: Listed) -> Result<Self, Refusal> {
        let alert = Raised::read(listed.alert_id, listed.raised_at, &listed.payload)?;
        let acknowledged = listed.acknowledged_at.map(|at| {
            let reason = listed.acknowledgement.as_ref().and_then(|payload| payload["reason"].as_str());
            Acknowledgement {
                at,
                by: listed.acknowledged_by.map(AccountId),
                reason: reason.unwrap_or_default().to_owned(),
            }
        });
        Ok(Self { alert, acknowledged })
    }
}

impl Doorbook {
    /// A page of alerts, newest first, older than `before`. That they were looked at is an event, once an hour.
    pub async fn list_alerts(
        &self,
        caller: Caller,
        filter: AlertFilter,
        before: Option<EventId>,
        limit: u32,
        context: &Context,
    ) -> Result<Vec<AlertView>, Refusal> {
        let bucket = Bucket::new("alerts", &[caller.account.0.as_bytes()]);
        let looked = OperatorEvent::AuditSearched { fields: vec!["alerts".to_owned()] };
        self.note_hourly(caller, &bucket, None, looked, context).await?;
        let reaches = |severity: &Severity| filter.severity.is_none_or(|least| *severity >= least);
        let query = Query {
            rule: filter.rule.map(Rule::as_str),
            severities: Severity::ALL.into_iter().filter(reaches).map(|it| it.as_str().to_owned()).collect(),
            acknowledged: filter.acknowledged,
            before,
            limit: i64::from(limit.clamp(1, ALERTS_PAGE_MAX)),
        };
        alerts::page(&self.db, &query).await?.into_iter().map(AlertView::try_from).collect()
    }

    /// Alerts that nobody has taken note of, counted up to 1,000.
    pub(super) async fn open_alerts(&self) -> Result<i64, Refusal> {
        Ok(alerts::open(&self.db).await?)
    }

    /// The newest of them.
    pub(super) async fn newest_open_alerts(&self, limit: i64) -> Result<Vec<AlertView>, Refusal> {
        let severities = Severity::ALL.map(|it| it.as_str().to_owned()).into();
        let query = Query { severities, acknowledged: Some(false), limit, ..Query::default() };
        alerts::page(&self.db, &query).await?.into_iter().map(AlertView::try_from).collect()
    }

    /// Notes that somebody has looked into an alert, and what came of it. The first note stands. Nobody does so for an alert about
    /// himself.
    pub async fn acknowledge_alert(
        &self,
        caller: Caller,
        id: EventId,
        reason: &str,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.admit_still(caller, Right::Audit, context).await?;
        if alerts::is_acknowledged(&self.db, id).await?.is_none() {
            return Err(Refusal::NotFound);
        }
        let alert = self.raised(id).await?.ok_or(Refusal::NotFound)?;
        if [alert.account, alert.actor].contains(&Some(caller.account)) {
            self.note_denied(caller, "acknowledge", context).await;
            return Err(Refusal::Forbidden);
        }
        let key = self.vault.account_key(&self.db, caller.account).await?;
        let context = context.clone().acting(caller.account);
        retrying(async || {
            if alerts::is_acknowledged(&self.db, id).await? == Some(true) {
                return Ok(());
            }
            let mut batch = Batch::new(&context, self.now());
            let stream = StreamId(id.0);
            batch.write.extend_stream(stream, 1, 1);
            batch.write.acknowledge_alert(id, batch.now);
            let event = SecurityEvent::SecurityAlertAcknowledged { reason: reason.to_owned() };
            batch.event(stream, 2, None, Some(caller.session), Event::Security(event), key.as_ref())?;
            Ok(batch.commit(self).await?)
        })
        .await
    }
}
