//! Threads that serve jobs, the queue before them, and what the jobs use: kept from one to the next, given back when none come.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::oneshot;

use super::admission::{Admission, WAITING_MAX};
use super::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use super::sync::{Arc, Mutex, MutexGuard, PoisonError};
use super::{Instant, thread};

/// Clones share the threads; when the last one goes, they end.
pub(super) struct Pool<S> {
    jobs: SyncSender<Job<S>>,
    admission: Arc<Admission>,
}

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unserved {
    /// It was not taken on.
    Full { retry_after: Duration },
    /// It panicked, or no thread is left.
    Lost,
}

/// What the threads share.
struct Shared<S, M> {
    jobs: Mutex<Receiver<Job<S>>>,
    idle: Duration,
    make: M,
    /// What no job uses now. The one used last is used next.
    spare: Mutex<Vec<S>>,
}

impl<S: Send + 'static> Pool<S> {
    /// Starts as many threads as there are permits; `enter` runs on each first. Each job gets what `make` has made for it or for one
    /// before it; when no job has come for `idle`, all of that is dropped.
    pub(super) fn start(
        permits: usize,
        name: &str,
        idle: Duration,
        enter: fn(),
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> io::Result<Self> {
        // As long as the admission allows, so that sending never waits.
        let (jobs, receiver) = sync_channel(permits + WAITING_MAX);
        let shared = Arc::new(Shared { jobs: Mutex::new(receiver), idle, make, spare: Mutex::new(Vec::new()) });
        for number in 0..permits {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("{name}-{number}"));
            thread.spawn(move || {
                enter();
                shared.serve();
            })?;
        }
        Ok(Self { jobs, admission: Admission::new(permits) })
    }

    /// Whether a job would be taken on now.
    pub(super) fn look(&self) -> Result<(), Unserved> {
        self.admission.look().map_err(|retry_after| Unserved::Full { retry_after })
    }

    /// Jobs that run and jobs that wait.
    pub(super) fn in_use(&self) -> (usize, usize) {
        self.admission.in_use()
    }

    /// What a thread makes of `work`. A caller that goes away takes back only what no thread has begun.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Unserved> {
        let ticket = self.admission.admit().map_err(|retry_after| Unserved::Full { retry_after })?;
        let (reply, answer) = oneshot::channel();
        let job: Job<S> = Box::new(move |state| {
            // The caller went away while the job waited: nobody would learn the result.
            if reply.is_closed() {
                return;
            }
            let started = Instant::now();
            let result = work(state);
            ticket.finish(started.elapsed());
            // A caller that went away meanwhile is no fault.
            let _ = reply.send(result);
        });
        if self.jobs.try_send(job).is_err() {
            tracing::error!("the hashing threads are gone");
            return Err(Unserved::Lost);
        }
        answer.await.map_err(|_| Unserved::Lost)
    }
}

impl<S> Clone for Pool<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), admission: Arc::clone(&self.admission) }
    }
}

impl<S, M: Fn() -> S> Shared<S, M> {
    /// What one thread does until the last [`Pool`] is dropped.
    fn serve(&self) {
        while let Some(job) = self.next() {
            let spare = lock(&self.spare).pop();
            let mut state = spare.unwrap_or_else(|| (self.make)());
            // A defect in one job must not take the thread, and with it every login, away. Its caller gets an error.
            if catch_unwind(AssertUnwindSafe(|| job(&mut state))).is_err() {
                tracing::warn!("a hashing job panicked");
            }
            lock(&self.spare).push(state);
        }
    }

    /// One thread waits here for all; the others wait for it.
    fn next(&self) -> Option<Job<S>> {
        let jobs = lock(&self.jobs);
        loop {
            match jobs.recv_timeout(self.idle) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => lock(&self.spare).clear(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
