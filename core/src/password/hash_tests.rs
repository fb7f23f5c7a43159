use std::sync::mpsc;

use tokio::sync::oneshot;

use super::*;

const TINY: HashCost = HashCost { memory_kib: 64, time_cost: 1, parallelism: 1 };

const PATIENCE: Duration = Duration::from_secs(20);

fn one_thread() -> Hasher {
    Hasher::start(TINY, Engine::Argon2, NonZeroUsize::MIN).unwrap()
}

fn password(text: &str) -> PasswordPlain {
    PasswordPlain::parse(text.to_owned()).unwrap()
}

/// Keeps a thread of `hasher` busy until the sender is used or dropped.
async fn occupy(hasher: &Hasher) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), HashError>>) {
    let (release, released) = mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel();
    let hasher = hasher.clone();
    let task = tokio::spawn(async move {
        let work = move |_: &mut Memory| {
            started.send(()).unwrap();
            let _ = released.recv();
            Ok(())
        };
        hasher.run(work).await
    });
    has_started.await.unwrap();
    (release, task)
}

fn spawn_verify(hasher: &Hasher) -> tokio::task::JoinHandle<Result<Verified, HashError>> {
    let hasher = hasher.clone();
    tokio::spawn(async move { hasher.verify(None, &password("whatever")).await })
}

#[tokio::test]
async fn what_two_seconds_cannot_serve_is_refused_at_once_and_uses_no_thread() {
    let hasher = one_thread();
    let (release, busy) = occupy(&hasher).await;
    // Nothing has been measured, so a job is supposed to take 250 ms.
    let waiting: Vec<_> = (0..7).map(|_| spawn_verify(&hasher)).collect();
    tokio::task::yield_now().await;
    let refused = hasher.verify(None, &password("one too many")).await;
    assert_eq!(refused, Err(HashError::Overloaded { retry_after: Duration::from_millis(1_750) }));
    assert_eq!((hasher.rejected(), hasher.verifications()), (1, 0));

    release.send(()).unwrap();
    busy.await.unwrap().unwrap();
    for verified in waiting {
        assert!(!verified.await.unwrap().unwrap().matches);
    }
    assert_eq!((hasher.rejected(), hasher.verifications()), (1, 7));
}

/// C107. Breaks when `core/src/password/hash.rs`: `        let refused = self.has_room();` → `        let refused: Result<(), HashError> = Ok(());`.
#[tokio::test]
async fn who_asks_for_room_while_there_is_none_is_refused_a_moment_later_and_takes_no_place() {
    let hasher = one_thread();
    hasher.room().await.unwrap();
    let (release, busy) = occupy(&hasher).await;
    let waiting: Vec<_> = (0..7).map(|_| spawn_verify(&hasher)).collect();
    tokio::task::yield_now().await;
    let begun = Instant::now();
    assert_eq!(hasher.room().await, Err(HashError::Overloaded { retry_after: Duration::from_millis(1_750) }));
    assert!(begun.elapsed() >= REFUSAL_HELD);
    assert_eq!(hasher.in_use(), (1, 7));
    release.send(()).unwrap();
    busy.await.unwrap().unwrap();
    for verified in waiting {
        verified.await.unwrap().unwrap();
    }
    hasher.room().await.unwrap();
    assert_eq!(hasher.verifications(), 7);
}

#[tokio::test]
async fn a_caller_that_hangs_up_frees_no_thread_that_still_works() {
    let hasher = one_thread();
    let (release, busy) = occupy(&hasher).await;
    busy.abort();
    assert!(busy.await.unwrap_err().is_cancelled());
    // The thread still works for the caller that went away; this one waits behind it.
    let waiting = spawn_verify(&hasher);
    tokio::task::yield_now().await;
    assert_eq!(hasher.verifications(), 0);
    drop(release);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_job_whose_caller_hung_up_while_it_waited_is_not_computed() {
    let hasher = one_thread();
    let (release, busy) = occupy(&hasher).await;
    let gone = spawn_verify(&hasher);
    tokio::task::yield_now().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    drop(release);
    busy.await.unwrap().unwrap();
    hasher.verify(None, &password("next in the queue")).await.unwrap();
    assert_eq!(hasher.verifications(), 1);
}

#[tokio::test]
async fn a_job_that_panics_fails_alone() {
    let hasher = one_thread();
    let outcome = hasher.run(|_| -> Result<(), ComputeError> { panic!("a defect, on purpose") }).await;
    assert_eq!(outcome, Err(HashError::Failed));
    assert!(!hasher.verify(None, &password("afterwards")).await.unwrap().matches);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hashing_threads_run_at_lower_priority_and_no_other_does() {
    let before = rustix::process::getpriority_process(None).unwrap();
    let hasher = one_thread();
    let on_thread = hasher.run(|_| Ok(rustix::process::getpriority_process(None))).await.unwrap().unwrap();
    assert_eq!(on_thread, NICENESS);
    assert_eq!(rustix::process::getpriority_process(None).unwrap(), before);
}

#[tokio::test]
async fn the_threads_end_with_the_last_clone() {
    let hasher = one_thread();
    let live = Arc::downgrade(&hasher.live);
    let clone = hasher.clone();
    drop(hasher);
    clone.hash(&password("still served")).await.unwrap();
    drop(clone);
    let started = Instant::now();
    while live.strong_count() > 0 {
        assert!(started.elapsed() < PATIENCE, "a thread lives on");
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_dummy_has_the_live_parameters_and_is_made_without_a_hash() {
    for cost in [TINY, HashCost::default()] {
        let live = Live::new(cost, Engine::Argon2).unwrap();
        assert!(live.dummy.is_made_with(cost));
        assert_eq!(live.time.get(), None);
    }
}

#[test]
fn nothing_to_verify_costs_a_live_hash() {
    for stored in [None, Some("!unusable"), Some("malformed"), Some("pbkdf2_sha256$99999999$salt$hash")] {
        let live = Live::new(TINY, Engine::Argon2).unwrap();
        let mut memory = Memory::new(live.engine, &live.recipe);
        let verified = live.verify(stored, &password("whatever"), &mut memory).unwrap();
        assert_eq!(verified, Verified { matches: false, rehash: false });
        // Only a hash with the live parameters is measured.
        assert!(live.time.get().is_some(), "{stored:?}");
    }
}

#[test]
fn a_cheap_imported_hash_is_padded_with_what_remains_of_a_live_one() {
    let cost = HashCost { memory_kib: 1_024, time_cost: 2, parallelism: 1 };
    let live = Live::new(cost, Engine::Argon2).unwrap();
    let memory_of = |recipe: Recipe| recipe.params.m_cost();
    // Nothing measured yet: a whole one.
    assert_eq!(live.padding(Duration::from_millis(1)).map(memory_of), Some(1_024));
    live.time.record(Duration::from_millis(100));
    assert_eq!(live.padding(Duration::ZERO).map(memory_of), Some(1_024));
    assert_eq!(live.padding(Duration::from_millis(75)).map(memory_of), Some(256));
    assert!(live.padding(Duration::from_millis(100)).is_none());
    assert!(live.padding(Duration::from_secs(9)).is_none());
}

#[test]
fn a_cheap_imported_hash_runs_the_padding() {
    let live = Live::new(TINY, Engine::Argon2).unwrap();
    let mut memory = Memory::new(live.engine, &live.recipe);
    let cheap = "pbkdf2_sha256$1000$hDO6CqeT2zpHSAiRs1SWlX$1i/QAnmKeq8BCnbt57uxcQnk+8gLq3UakjiZ3TrXsAg=";
    live.verify(Some(cheap), &password("wrong"), &mut memory).unwrap();
    // PBKDF2 needs no blocks; only the padding allocates them.
    assert!(memory.is_warm());
}

#[tokio::test]
async fn what_jobs_use_is_kept_for_the_next_and_given_back_when_none_comes() {
    let used = Arc::new(());
    let count = Arc::new(AtomicU64::new(0));
    let make = {
        let (used, count) = (Arc::clone(&used), Arc::clone(&count));
        move || {
            count.fetch_add(1, Ordering::Relaxed);
            Arc::clone(&used)
        }
    };
    let pool = Pool::start(2, "test", Duration::from_millis(300), || {}, make).unwrap();
    let before = Arc::strong_count(&used);
    for _ in 0..5 {
        pool.run(|_| ()).await.unwrap();
    }
    // A job answers before its thread has put back what it used, so the next may find nothing yet.
    let made_for_five = count.load(Ordering::Relaxed);
    assert!(made_for_five <= 2, "{made_for_five}");
    assert!(Arc::strong_count(&used) > before);
    let started = Instant::now();
    while Arc::strong_count(&used) > before {
        assert!(started.elapsed() < PATIENCE, "it is kept");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pool.run(|_| ()).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), made_for_five + 1);
}
