//! How much hashing work is taken on: only what will be served soon; the rest is told at once to come back.

use std::time::Duration;

use super::sync::Arc;
use super::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Longest time from being taken on to the end of the hash. Beyond it a client is better served by a refusal at once.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Most jobs that wait at any speed; bounds what the queue itself holds (about 8 KiB a job).
pub(super) const WAITING_MAX: usize = 1_024;

/// Length of a job supposed until one has been measured: the default cost on a slow core.
const JOB_TIME_SUPPOSED: Duration = Duration::from_millis(250);

/// An exponentially weighted mean of durations; a new value counts one eighth (the gain of RFC 6298, 2).
#[derive(Default)]
pub(super) struct MovingAverage {
    /// Nanoseconds; 0 until the first value.
    mean: AtomicU64,
}

impl MovingAverage {
    pub(super) fn record(&self, value: Duration) {
        let value = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX).max(1);
        let next = |mean: u64| Some(if mean == 0 { value } else { mean - mean / 8 + value / 8 });
        // The closure always answers, so there is no failure to look at.
        let _ = self.mean.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    pub(super) fn get(&self) -> Option<Duration> {
        let mean = self.mean.load(Ordering::Relaxed);
        (mean != 0).then(|| Duration::from_nanos(mean))
    }
}

pub(super) struct Admission {
    permits: usize,
    /// Jobs taken on and not finished, running or waiting.
    outstanding: AtomicUsize,
    job_time: MovingAverage,
}

impl Admission {
    pub(super) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { permits, outstanding: AtomicUsize::new(0), job_time: MovingAverage::default() })
    }

    /// A place for one job, or the time after which those now waiting will have been served.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Ticket, Duration> {
        let job_time = self.job_time();
        let taken = self.outstanding.fetch_update(Ordering::AcqRel, Ordering::Acquire, |outstanding| {
            self.has_room(outstanding, job_time).then_some(outstanding + 1)
        });
        match taken {
            Ok(_) => Ok(Ticket(Arc::clone(self))),
            Err(outstanding) => Err(self.wait(self.waiting(outstanding), job_time)),
        }
    }

    /// What [`Self::admit`] would say now.
    pub(super) fn look(&self) -> Result<(), Duration> {
        let (outstanding, job_time) = (self.outstanding.load(Ordering::Acquire), self.job_time());
        if self.has_room(outstanding, job_time) { Ok(()) } else { Err(self.wait(self.waiting(outstanding), job_time)) }
    }

    fn job_time(&self) -> Duration {
        self.job_time.get().unwrap_or(JOB_TIME_SUPPOSED)
    }

    /// Whether one more than these would be served soon. However dear a hash is, one that need not wait is.
    fn has_room(&self, outstanding: usize, job_time: Duration) -> bool {
        let waiting = self.waiting(outstanding + 1);
        waiting <= WAITING_MAX && (waiting == 0 || self.wait(waiting, job_time) + job_time <= WAIT_MAX)
    }

    /// Jobs that run and jobs that wait.
    pub(super) fn in_use(&self) -> (usize, usize) {
        let outstanding = self.outstanding.load(Ordering::Acquire);
        (outstanding.min(self.permits), self.waiting(outstanding))
    }

    fn waiting(&self, outstanding: usize) -> usize {
        outstanding.saturating_sub(self.permits)
    }

    fn wait(&self, waiting: usize, job_time: Duration) -> Duration {
        let nanos = job_time.as_nanos() * waiting as u128 / self.permits as u128;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The place of one job. It travels with the job, so a caller that hangs up does not free a place still in use.
pub(super) struct Ticket(Arc<Admission>);

impl Ticket {
    pub(super) fn finish(self, job_time: Duration) {
        self.0.job_time.record(job_time);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::AcqRel);
    }
}
