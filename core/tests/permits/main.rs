//! The permits of hashing in every order of steps that chance finds: the queue and its threads are compiled here a second time, with
//! shuttle's primitives below them, which decide at each step who goes on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

#[path = "../../src/password/admission.rs"]
mod admission;
#[path = "../../src/password/pool.rs"]
mod pool;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use pool::{Pool, Unserved};
use shuttle::future::block_on;
use shuttle::{sync, thread};

/// How long each job takes by the clock below.
const JOB: Duration = Duration::from_secs(1);
/// Jobs that may wait for each thread: what two seconds serve.
const WAITING: usize = 1;

/// A clock by which every job takes as long as every other.
struct Instant(Duration);

impl Instant {
    fn now() -> Self {
        Self(JOB)
    }

    fn elapsed(&self) -> Duration {
        self.0
    }
}

/// What is known of the jobs from outside. Of std, not of shuttle: looking changes no order.
struct Ledger {
    permits: usize,
    /// Taken on, and neither done nor dropped: at most as many as hold a ticket.
    open: Mutex<isize>,
    running: AtomicUsize,
    begun: AtomicUsize,
}

/// Of one job: it lives as long as the job's work does.
struct Open(Arc<Ledger>);

impl Drop for Open {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap() -= 1;
    }
}

impl Ledger {
    fn limit(&self) -> usize {
        self.permits * (1 + WAITING)
    }

    /// A client's first step is over and its job was taken on.
    fn taken_on(&self) {
        let mut open = self.open.lock().unwrap();
        *open += 1;
        assert!(*open <= isize::try_from(self.limit()).unwrap(), "{open} jobs at {} permits", self.permits);
    }

    /// What each job does; how many have begun before it.
    fn work(&self, pool: &Pool<usize>) -> usize {
        let before = self.begun.fetch_add(1, Ordering::Relaxed);
        let running = 1 + self.running.fetch_add(1, Ordering::Relaxed);
        assert!(running <= self.permits, "{running} jobs run at {} permits", self.permits);
        assert!(pool.in_use().0 >= 1, "a job that runs is counted, whether its client is there or not");
        thread::yield_now();
        self.running.fetch_sub(1, Ordering::Relaxed);
        before
    }
}

/// Asks for one job, perhaps hanging up after `patience` looks at it. Whether it was taken on.
fn client(pool: &Pool<usize>, ledger: &Arc<Ledger>, patience: Option<usize>) -> bool {
    let (open, own) = (Open(Arc::clone(ledger)), pool.clone());
    let mut job = Box::pin(pool.run(move |_| open.0.work(&own)));
    let mut looks = 0;
    let mut begun_before = 0;
    let answer = block_on(std::future::poll_fn(|context| {
        let polled = job.as_mut().poll(context);
        if looks == 0 && !matches!(polled, Poll::Ready(Err(Unserved::Full { .. }))) {
            begun_before = ledger.begun.load(Ordering::Relaxed);
            ledger.taken_on();
        }
        looks += 1;
        match polled {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if patience == Some(looks) => Poll::Ready(None),
            Poll::Pending => {
                if patience.is_some() {
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }));
    match answer {
        Some(Err(Unserved::Full { retry_after })) => {
            // The guard of a job that was not taken on has counted down what was never counted.
            *ledger.open.lock().unwrap() += 1;
            assert_eq!(retry_after, JOB * u32::try_from(WAITING).unwrap(), "a refusal names when the queue is served");
            false
        }
        Some(Err(Unserved::Lost)) => panic!("a job that was taken on is lost"),
        Some(Ok(before)) => {
            // Those before it in the queue, and those whose thread came later and was quicker.
            let waited = before.saturating_sub(begun_before);
            assert!(waited < ledger.limit() + ledger.permits - 1, "{waited} jobs began before one that was taken on");
            true
        }
        None => true,
    }
}

/// A first client, and then at once two more than are taken on; each of the first `impatient` hangs up.
fn rush(permits: usize, impatient: usize) {
    let ledger = Arc::new(Ledger {
        permits,
        open: Mutex::default(),
        running: AtomicUsize::default(),
        begun: AtomicUsize::default(),
    });
    let pool = Pool::start(permits, "hash", Duration::MAX, || {}, || 0_usize).unwrap();
    // Until one job has been measured, all are supposed to be quicker than these are.
    assert!(client(&pool, &ledger, None));
    let clients: Vec<_> = (0..ledger.limit() + 2)
        .map(|number| {
            let (pool, ledger) = (pool.clone(), Arc::clone(&ledger));
            let patience = (number < impatient).then_some(1 + number % 2);
            thread::spawn(move || client(&pool, &ledger, patience))
        })
        .collect();
    let taken_on = clients.into_iter().map(|client| client.join().unwrap()).filter(|taken_on| *taken_on).count();
    assert!(taken_on >= ledger.limit(), "only {taken_on} were taken on, though there was room for {}", ledger.limit());
    // Jobs whose clients have hung up end too, and then every place is free again.
    while pool.in_use() != (0, 0) {
        thread::yield_now();
    }
    assert_eq!(*ledger.open.lock().unwrap(), 0);
    assert!(pool.look().is_ok(), "there is room again");
}

/// Runs so many orders of steps: half by chance, half such as few changes of thread make.
fn in_many_orders(scene: fn()) {
    let full = std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full");
    let schedules = if full { 5_000 } else { 250 };
    shuttle::check_random(scene, schedules);
    shuttle::check_pct(scene, schedules, 3);
    println!("figure: {} orders of steps", 2 * schedules);
}

/// C076. Breaks when `core/src/password/admission.rs`: `        self.0.outstanding.fetch_sub(1, Ordering::AcqRel);` → `        self.0.outstanding.store(self.0.outstanding.load(Ordering::Acquire) - 1, Ordering::Release);`.
#[test]
fn in_any_order_only_what_two_seconds_serve_is_taken_on_and_every_job_is_answered() {
    in_many_orders(|| rush(1, 0));
    in_many_orders(|| rush(2, 0));
}

/// C076. Breaks when `core/src/password/pool.rs`: `            let result = work(state);\n            ticket.finish(started.elapsed());` → `            ticket.finish(started.elapsed());\n            let result = work(state);`.
#[test]
fn in_any_order_a_client_that_hangs_up_frees_no_place_before_its_job_is_over() {
    in_many_orders(|| rush(1, 3));
    in_many_orders(|| rush(2, 5));
}
