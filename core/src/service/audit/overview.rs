//! The trail from above: how much happened when, and who is under attack.

use std::time::Duration;

use super::{Caller, Context, Doorbook, Filter, Refusal, TrailEntry};
use crate::clock::Timestamp;
use crate::operator::OperatorEvent;
use crate::service::alert_list::AlertView;
use crate::store::keys::identifiers::Bucket;
use crate::store::query::overview::{self, Frequent};
use crate::store::{log, search as view};
use crate::terms::{Field, Severity};
use crate::value::AccountId;

const HOUR: i64 = 3_600;
/// Events of each kind of attack that are looked at for the most frequent origins and targets, the newest.
const ATTACKS_MAX: i64 = 20_000;
/// Origins and targets named.
const SUSPECTS_MAX: i64 = 10;
const WARNINGS_MAX: u32 = 10;
const ALERTS_MAX: i64 = 5;
/// What somebody who tries to get in leaves behind.
const ATTACKS: [&str; 5] =
    ["LoginFailed", "LoginBlocked", "AccountLocked", "RefreshTokenReused", "PasswordResetRequestedForUnknown"];

/// Failed logins that have no event of their own: what counts is how many of them its events stand for.
pub const ROLLED_UP: &str = "LoginAttemptsSuppressed";

/// What is counted over time.
pub const COUNTED: [&str; 9] = [
    "LoggedIn",
    "LoginFailed",
    ROLLED_UP,
    "LoginBlocked",
    "PasswordResetRequested",
    "PasswordReset",
    "Registered",
    "MailSent",
    "MailFailed",
];

/// How far back an overview looks, to the end of the present hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    #[default]
    Day,
    Week,
    Month,
    Quarter,
}

impl Span {
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Quarter];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Quarter => "90d",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.as_str() == text)
    }

    /// Steps, and hours of each.
    const fn steps(self) -> (i64, i64) {
        match self {
            Self::Day => (24, 1),
            Self::Week => (28, 6),
            Self::Month => (30, 24),
            Self::Quarter => (90, 24),
        }
    }
}

/// How often events of one type came up in each step.
#[derive(Debug)]
pub struct Series {
    pub name: &'static str,
    pub counts: Vec<i64>,
}

/// An address or an account with the attempts that name it.
#[derive(Debug)]
pub struct Suspect<T> {
    pub whom: T,
    pub events: i64,
    pub last_at: Timestamp,
}

#[derive(Debug)]
pub struct Overview {
    pub from: Timestamp,
    /// Not included.
    pub to: Timestamp,
    pub step: Duration,
    /// In the order of [`COUNTED`].
    pub series: Vec<Series>,
    /// Where most attempts to get in came from.
    pub addresses: Vec<Suspect<String>>,
    /// Accounts that most attempts were made at.
    pub accounts: Vec<Suspect<AccountId>>,
    /// The newest warnings and worse, of any time.
    pub warnings: Vec<TrailEntry>,
    /// How many alerts nobody has looked into, counted up to 1,000, and the newest of them.
    pub open_alerts: i64,
    pub alerts: Vec<AlertView>,
}

impl Doorbook {
    /// The trail from above. That it was looked at is an event, once an hour.
    pub async fn overview(&self, caller: Caller, span: Span, context: &Context) -> Result<Overview, Refusal> {
        let bucket = Bucket::new("overview", &[caller.account.0.as_bytes()]);
        let looked = OperatorEvent::AuditSearched { fields: vec!["overview".to_owned()] };
        self.note_hourly(caller, &bucket, None, looked, context).await?;
        let (steps, hours) = span.steps();
        let to = Timestamp::from_seconds((self.now().seconds().div_euclid(HOUR) + 1) * HOUR);
        let step = Duration::from_hours(hours.unsigned_abs());
        let from = Timestamp::from_seconds(to.seconds() - steps * hours * HOUR);
        let names = COUNTED.map(str::to_owned);
        let counted = overview::counts(&self.db, &names, from, to, step.as_secs_f64()).await?;
        let mut series = COUNTED.map(|name| Series { name, counts: vec![0; usize::try_from(steps).unwrap_or(0)] });
        for count in counted {
            let index =
                usize::try_from((count.start.seconds() - from.seconds()) / (hours * HOUR)).unwrap_or(usize::MAX);
            let of_name = series.iter_mut().find(|series| series.name == count.name);
            if let Some(sum) = of_name.and_then(|series| series.counts.get_mut(index)) {
                *sum += if count.name == ROLLED_UP { count.rolled_up } else { count.events };
            }
        }
        let (addresses, accounts) = match view::bounds(&self.db, from, to).await? {
            Some(span) => (self.attackers(span, caller).await?, self.targets(span).await?),
            None => (Vec::new(), Vec::new()),
        };
        let severe = Filter { severity: Some(Severity::Warning), ..Filter::default() };
        let warnings = self.newest(caller, &severe, WARNINGS_MAX).await?;
        let (open_alerts, alerts) = (self.open_alerts().await?, self.newest_open_alerts(ALERTS_MAX).await?);
        Ok(Overview { from, to, step, series: series.into(), addresses, accounts, warnings, open_alerts, alerts })
    }

    async fn attackers(&self, span: (i64, i64), caller: Caller) -> Result<Vec<Suspect<String>>, Refusal> {
        let frequent = self.attacked(span, Field::Address).await?;
        let positions: Vec<i64> = frequent.iter().map(|it| it.position).collect();
        let sight = self.sight(caller).await?;
        let entries = self.entries(log::sealed_at(&self.db, &positions).await?, sight).await?;
        let suspect = |it: &Frequent| {
            let entry = entries.iter().find(|entry| entry.position == it.position)?;
            let whom = entry.personal.as_ref()?.address.clone()?;
            Some(Suspect { whom, events: it.events, last_at: entry.at })
        };
        Ok(frequent.iter().filter_map(suspect).collect())
    }

    async fn targets(&self, span: (i64, i64)) -> Result<Vec<Suspect<AccountId>>, Refusal> {
        let frequent = self.attacked(span, Field::Account).await?;
        let positions: Vec<i64> = frequent.iter().map(|it| it.position).collect();
        let events = log::sealed_at(&self.db, &positions).await?;
        let suspect = |it: &Frequent| {
            let event = events.iter().find(|event| event.position == it.position)?;
            let whom = AccountId(event.subject_id?);
            Some(Suspect { whom, events: it.events, last_at: event.recorded_at })
        };
        Ok(frequent.iter().filter_map(suspect).collect())
    }

    async fn attacked(&self, span: (i64, i64), field: Field) -> Result<Vec<Frequent>, Refusal> {
        let key = self.vault.search_key(&self.db).await?;
        let types: Vec<i64> = ATTACKS.iter().map(|name| key.term(Field::Type, name)).collect();
        Ok(overview::frequent(&self.db, &types, span, field, ATTACKS_MAX, SUSPECTS_MAX).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_as_it_is_written_and_has_whole_steps() {
        for span in Span::ALL {
            assert_eq!(Span::parse(span.as_str()), Some(span));
            let (steps, hours) = span.steps();
            assert_eq!(steps * hours % 24, 0, "{span:?}");
        }
        assert_eq!(Span::parse("1y"), None);
    }
}
