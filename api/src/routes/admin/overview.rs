//! The trail from above.

use doorbook_core::service::audit::{Overview, Span};
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use crate::auth::Auditor;
use crate::problem::Problem;
use crate::routes::Chapter;
use crate::routes::input::{Asked, Faults};

pub struct Overviews;

#[derive(Object)]
pub struct SeriesAnswer {
    /// Name of the events that are counted.
    #[oai(rename = "type")]
    name: String,
    /// Events of each step, the earliest first; of `LoginAttemptsSuppressed`, the failed logins that its events stand for.
    counts: Vec<i64>,
}

#[derive(Object)]
pub struct AddressAnswer {
    /// Client address.
    address: String,
    /// Attempts to get in that came from it.
    attempts: i64,
    last_at: String,
}

#[derive(Object)]
pub struct TargetAnswer {
    account: uuid::Uuid,
    /// Attempts to get into it.
    attempts: i64,
    last_at: String,
}

#[derive(Object)]
pub struct OverviewAnswer {
    /// Beginning of the first step. RFC 3339, UTC, as all times.
    from: String,
    /// End of the last step: that of the present hour.
    to: String,
    step_seconds: u64,
    series: Vec<SeriesAnswer>,
    /// Where most attempts came from; at most ten, found among the newest 20,000 of each kind that are written one by one.
    addresses: Vec<AddressAnswer>,
    /// Accounts that most attempts were made at; likewise.
    accounts: Vec<TargetAnswer>,
    /// Alerts that nobody has looked into, counted up to 1,000.
    open_alerts: i64,
}

impl From<Overview> for OverviewAnswer {
    fn from(overview: Overview) -> Self {
        let series = overview.series.into_iter();
        let addresses = overview.addresses.into_iter().map(|suspect| AddressAnswer {
            address: suspect.whom,
            attempts: suspect.events,
            last_at: suspect.last_at.rfc3339(),
        });
        let accounts = overview.accounts.into_iter().map(|suspect| TargetAnswer {
            account: suspect.whom.0,
            attempts: suspect.events,
            last_at: suspect.last_at.rfc3339(),
        });
        Self {
            from: overview.from.rfc3339(),
            to: overview.to.rfc3339(),
            step_seconds: overview.step.as_secs(),
            series: series.map(|it| SeriesAnswer { name: it.name.to_owned(), counts: it.counts }).collect(),
            addresses: addresses.collect(),
            accounts: accounts.collect(),
            open_alerts: overview.open_alerts,
        }
    }
}

#[OpenApi(tag = "Chapter::Administration")]
impl Overviews {
    /// See the trail from above
    ///
    /// How much of what happened when, and who is under attack. That it was looked at is in the trail, once an hour for each who looks.
    #[oai(path = "/api/admin/overview/", method = "get", operation_id = "overview")]
    async fn overview(
        &self,
        auditor: Auditor,
        asked: Asked,
        /// `24h`, by the hour, which is the default; `7d`, by six hours; `30d` or `90d`, by the day.
        #[oai(validator(max_length = 4))]
        span: Query<Option<String>>,
    ) -> Result<Json<OverviewAnswer>, Problem> {
        let mut faults = Faults::default();
        let span = faults.parsed("span", span.0.as_deref(), "must be one of: 24h, 7d, 30d, 90d", Span::parse);
        faults.check()?;
        let overview = asked.doorbook.overview(auditor.0, span.unwrap_or_default(), &asked.context).await?;
        Ok(Json(overview.into()))
    }
}
