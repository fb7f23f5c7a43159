//! Numbers of this process, and the page of them.

use doorbook_core::alert::Rule;
use doorbook_core::service::mail::Handover;
use doorbook_core::store::checkpoints::SinkLag;
use doorbook_core::store::follow::Follower;
use doorbook_core::store::jobs::Backlog;
use doorbook_core::store::seal::Lag;
pub use doorbook_core::telemetry::metrics::Counter;
use doorbook_core::telemetry::metrics::{Gauge, Kind, Page};

#[derive(Default)]
pub struct Metrics {
    /// Jobs handed to Redis.
    pub pushed: Counter,
    /// Jobs run in this process without Redis.
    pub local: Counter,
    pub done: Counter,
    pub retried: Counter,
    pub dead: Counter,
    /// Jobs that were dropped half-way because another worker had taken them.
    pub lost: Counter,
    /// Mails put back because their server or domain took none.
    pub held: Counter,
    pub panics: Counter,
    /// Jobs offered again by the sweep.
    pub swept: Counter,
    /// Jobs set aside because their worker died at every start.
    pub quarantined: Counter,
    /// Ends of a lane's worker that nobody asked for.
    pub queue_restarts: Counter,
    pub sealed: Counter,
    pub checkpoints_signed: Counter,
    /// Tries to sign that failed.
    pub checkpoint_failures: Counter,
    /// Checkpoints that the sink has taken.
    pub checkpoints_written: Counter,
    /// Tries to write that failed.
    pub sink_failures: Counter,
    /// Events taken into the views that follow the log.
    pub followed: Counter,
    alerts: [Counter; Rule::ALL.len()],
    mails: Mails,
    jobs_running: Gauge,
    /// 1 while Redis answers.
    redis_up: Gauge,
    seal_waiting: Gauge,
    seal_oldest_ms: Gauge,
    seal_overdue: Gauge,
    sink_waiting: Gauge,
    sink_oldest_ms: Gauge,
    followers_behind: Gauge,
    followers_stopped: Gauge,
}

/// What became of mails, an attempt each.
#[derive(Default)]
struct Mails {
    sent: Counter,
    deferred: Counter,
    failed: Counter,
    unheard: Counter,
    suppressed: Counter,
}

impl Metrics {
    pub fn count_mail(&self, handover: &Handover) {
        let counter = match handover {
            Handover::Sent { .. } => &self.mails.sent,
            Handover::Deferred { .. } => &self.mails.deferred,
            Handover::Failed { .. } => &self.mails.failed,
            Handover::Unheard { .. } => &self.mails.unheard,
            Handover::Suppressed { .. } => &self.mails.suppressed,
        };
        counter.add(1);
    }

    pub fn count_alert(&self, rule: Rule) {
        let place = Rule::ALL.iter().position(|known| *known == rule);
        if let Some(counter) = place.and_then(|place| self.alerts.get(place)) {
            counter.add(1);
        }
    }

    pub fn add_running(&self, number: i64) {
        self.jobs_running.add(number);
    }

    pub fn set_redis(&self, up: bool) {
        self.redis_up.set(i64::from(up));
    }

    pub fn set_lag(&self, lag: &Lag) {
        self.seal_waiting.set(lag.waiting);
        self.seal_oldest_ms.set(lag.oldest_ms);
        self.seal_overdue.set(lag.overdue);
    }

    pub fn set_sink_lag(&self, lag: &SinkLag) {
        self.sink_waiting.set(lag.waiting);
        self.sink_oldest_ms.set(lag.oldest_ms);
    }

    pub fn set_followers(&self, followers: &[Follower]) {
        self.followers_behind.set(followers.iter().map(|follower| follower.behind).max().unwrap_or(0));
        let stopped = followers.iter().filter(|follower| follower.fault.is_some()).count();
        self.followers_stopped.set(i64::try_from(stopped).unwrap_or(i64::MAX));
    }

    /// `None` for `backlog` when the database did not answer: absent says more than zero.
    pub fn render(&self, page: &mut Page, backlog: Option<&Backlog>) {
        for (name, help, counter) in [
            ("jobs_pushed_total", "Jobs handed to Redis.", &self.pushed),
            ("jobs_local_total", "Jobs run without Redis.", &self.local),
            ("jobs_done_total", "Jobs that ended well.", &self.done),
            ("jobs_retried_total", "Attempts that will be repeated.", &self.retried),
            ("jobs_dead_total", "Jobs given up.", &self.dead),
            ("jobs_lost_total", "Jobs taken over by another worker while they ran.", &self.lost),
            ("mails_held_total", "Mails put back because their server or domain took none.", &self.held),
            ("jobs_panics_total", "Attempts that panicked.", &self.panics),
            ("jobs_swept_total", "Jobs offered again by the sweep.", &self.swept),
            ("jobs_quarantined_total", "Jobs set aside because their worker died at every start.", &self.quarantined),
            ("queue_restarts_total", "Restarts of a lane's worker.", &self.queue_restarts),
            ("sealed_events_total", "Events sealed by this process.", &self.sealed),
            ("checkpoints_signed_total", "Checkpoints signed by this process.", &self.checkpoints_signed),
            ("checkpoint_failures_total", "Failed tries to sign a checkpoint: an alarm.", &self.checkpoint_failures),
            ("checkpoints_written_total", "Checkpoints that the sink has taken.", &self.checkpoints_written),
            ("checkpoint_sink_failures_total", "Failed tries to write to the sink.", &self.sink_failures),
            ("followed_events_total", "Events taken into views that follow the log.", &self.followed),
        ] {
            page.counter(&named(name), help, counter.get());
        }
        page.family(&named("mails_total"), Kind::Counter, "Attempts to send a mail by outcome.");
        for (outcome, counter) in [
            ("sent", &self.mails.sent),
            ("deferred", &self.mails.deferred),
            ("failed", &self.mails.failed),
            ("unheard", &self.mails.unheard),
            ("suppressed", &self.mails.suppressed),
        ] {
            page.sample(&[("outcome", outcome)], counter.get());
        }
        page.family(&named("alerts_raised_total"), Kind::Counter, "Security alerts raised by this process.");
        for (rule, counter) in Rule::ALL.iter().zip(&self.alerts) {
            page.sample(&[("rule", rule.as_str())], counter.get());
        }
        for (name, help, gauge) in [
            ("jobs_running", "Jobs that this process runs.", &self.jobs_running),
            ("redis_up", "1 while Redis answers.", &self.redis_up),
            ("seal_waiting_events", "Events not sealed yet, counted up to 10,000.", &self.seal_waiting),
            ("seal_overdue_events", "Unsealed events older than 60 s: an alarm.", &self.seal_overdue),
            ("checkpoint_sink_waiting", "Checkpoints that the sink has not taken.", &self.sink_waiting),
            (
                "followers_behind_events",
                "Sealed events that the slowest follower has not read.",
                &self.followers_behind,
            ),
            (
                "followers_stopped",
                "Followers that stand still before an event they cannot read: an alarm.",
                &self.followers_stopped,
            ),
        ] {
            page.gauge(&named(name), help, gauge.get());
        }
        let help = "Age of the oldest event not sealed yet.";
        page.gauge(&named("seal_oldest_seconds"), help, seconds(self.seal_oldest_ms.get()));
        let help = "How long the oldest checkpoint has waited for the sink.";
        page.gauge(&named("checkpoint_sink_oldest_seconds"), help, seconds(self.sink_oldest_ms.get()));
        let Some(backlog) = backlog else { return };
        for (name, help, number) in [
            ("jobs_due", "Jobs not handed over yet, counted up to 100,000.", backlog.due),
            ("jobs_outstanding", "Jobs handed over or running.", backlog.outstanding),
            ("jobs_dead", "Jobs that wait for an operator.", backlog.dead),
        ] {
            page.gauge(&named(name), help, number);
        }
        let help = "How long the oldest due job has waited.";
        page.gauge(&named("jobs_oldest_due_seconds"), help, seconds(backlog.oldest_due_ms));
    }
}

fn named(name: &str) -> String {
    format!("doorbook_worker_{name}")
}

fn seconds(milliseconds: i64) -> f64 {
    // Past the range of a negative clock difference nothing is lost: an i32 of milliseconds is 24 days.
    f64::from(i32::try_from(milliseconds).unwrap_or(i32::MAX)) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_without_a_database_leaves_the_backlog_out_instead_of_calling_it_zero() {
        let metrics = Metrics::default();
        metrics.pushed.add(3);
        metrics.set_lag(&Lag { waiting: 7, oldest_ms: 120, overdue: 0 });
        let text = |backlog: Option<&Backlog>| {
            let mut page = Page::default();
            metrics.render(&mut page, backlog);
            page.into_text()
        };
        let without = text(None);
        assert!(without.contains("\ndoorbook_worker_jobs_pushed_total 3\n"));
        assert!(without.contains("\ndoorbook_worker_seal_oldest_seconds 0.12\n"));
        assert!(
            without
                .contains("# TYPE doorbook_worker_seal_waiting_events gauge\ndoorbook_worker_seal_waiting_events 7\n")
        );
        assert!(!without.contains("jobs_due"));
        let backlog = Backlog { due: 5, oldest_due_ms: 1, outstanding: 0, dead: 0 };
        assert!(text(Some(&backlog)).contains("\ndoorbook_worker_jobs_due 5\n"));
    }
}
