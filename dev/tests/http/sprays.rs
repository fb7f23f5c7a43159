//! A flood of guesses at addresses of nobody, from networks without number: what it leaves in the log is bounded, and nobody's history and
//! nobody's login suffers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use doorbook_dev::Stand;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::common::*;
use crate::insider::Insider;
use crate::wire::Wire;

const LOGIN: &str = "/api/auth/login/";
/// Connections that spray at a time.
const SPRAYERS: usize = 12;
/// The whole dose ends here, however many attempts were made by then.
const SPRAY_MAX: Duration = Duration::from_mins(25);
/// Rows that a minute may add: single ones, and roll-ups. Source: docs/adr/0022.
const SINGLE_ROWS: i64 = 600;
const ROLL_UPS: i64 = 101;
/// Single rows that the minutes of the small dose have had before: a slow machine is to get to the end of them.
const HAD_BEFORE: i64 = 560;
/// Longest p99 of a login that is admitted. Source: the figures of the release.
const LOGIN_P99: Duration = Duration::from_millis(2_500);

#[derive(Default)]
struct Spray {
    next: AtomicU32,
    refused: AtomicUsize,
    turned_away: AtomicUsize,
    is_over: AtomicBool,
}

impl Spray {
    /// Guesses on one connection until there were enough; each guess is of a client of its own. Of five the first four are at addresses
    /// that nobody guessed at before; every fifth is one of five at the same.
    async fn run(self: Arc<Self>, base: String, most: u32, until: Instant) {
        let mut wire = Wire::open(&base, "").await;
        while Instant::now() < until {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= most {
                return;
            }
            let [_, b, c, d] = n.to_be_bytes();
            wire.address =
                if n.is_multiple_of(3) { format!("2001:db8:{:x}::1", n % 60_000) } else { format!("11.{b}.{c}.{d}") };
            let name = if n % 5 == 4 { format!("again{}", n / 25) } else { format!("nobody{n}") };
            let reply = wire.post(LOGIN, &credentials(&format!("{name}@spray.example"), OTHER_PASSWORD)).await;
            match reply.status {
                401 => self.refused.fetch_add(1, Ordering::Relaxed),
                503 => self.turned_away.fetch_add(1, Ordering::Relaxed),
                other => panic!("{other}: {reply:?}"),
            };
        }
    }
}

/// Logs real people in, one after the other, until the spray is over; the times, sorted, and who got in how often.
async fn live(stand: &Stand, people: &[String], spray: &Spray, least: usize) -> Vec<Duration> {
    let mut wires = Vec::new();
    for _ in people {
        wires.push(wire(stand).await);
    }
    let mut times = Vec::new();
    while times.len() < least || !spray.is_over.load(Ordering::Relaxed) {
        let turn = times.len() % people.len();
        let started = Instant::now();
        let reply = wires[turn].post(LOGIN, &credentials(&people[turn], PASSWORD)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        times.push(started.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    times.sort_unstable();
    times
}

async fn count(owner: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(owner).await.unwrap()
}

/// The minutes to come have had so many single rows.
async fn spend(owner: &PgPool, rows: i64) {
    let minutes = "insert into attempt_minutes
                   select date_trunc('minute', clock_timestamp()) + n * interval '1 minute', $1 from generate_series(0, 30) n";
    sqlx::query(minutes).bind(i32::try_from(rows).unwrap()).execute(owner).await.unwrap();
}

/// What the log has of people without an account.
struct Told {
    /// In which single rows were written.
    minutes: i64,
    single: i64,
    failed: i64,
    roll_ups: i64,
    rolled_up: i64,
    of_nobody: i64,
}

impl Told {
    async fn read(owner: &PgPool, had: i64) -> Self {
        let touched = "select count(*) from attempt_minutes where recorded > $1";
        let minutes = sqlx::query_scalar(touched).bind(i32::try_from(had).unwrap()).fetch_one(owner).await.unwrap();
        let single = "select count(*) from events where type in ('LoginFailed', 'LoginBlocked') and subject_id is null";
        let failed = "select count(*) from events where type = 'LoginFailed' and subject_id is null";
        let roll_ups = "select count(*) from events where type = 'LoginAttemptsSuppressed'";
        let rolled_up = "select coalesce(sum((payload->>'attempts')::bigint), 0)::bigint from events
                         where type = 'LoginAttemptsSuppressed'";
        Self {
            minutes,
            single: count(owner, single).await,
            failed: count(owner, failed).await,
            roll_ups: count(owner, roll_ups).await,
            rolled_up: count(owner, rolled_up).await,
            of_nobody: count(owner, "select count(*) from events where subject_id is null").await,
        }
    }
}

/// Waits until everything that was counted is told; the small dose lets its minutes pass.
async fn told(owner: &PgPool) {
    let begun = Instant::now();
    loop {
        if !is_full_dose() {
            let pass = "update attempt_tallies set minute = minute - interval '1 hour' where minute > clock_timestamp() - interval '30 minutes'";
            sqlx::query(pass).execute(owner).await.unwrap();
        }
        if count(owner, "select count(*) from attempt_tallies").await == 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(4), "what was counted is never told");
        sleep(Duration::from_millis(500)).await;
    }
}

/// Breaks when `core/src/attempt/rollup.rs`: `pub const ROWS_A_MINUTE: u32 = 600;` → `pub const ROWS_A_MINUTE: u32 = 60_000;`.
/// Release: the times of real people's logins say nothing of another build.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_guesses_adds_bounded_rows_and_takes_no_event_and_no_login_of_anybody() {
    let mut stand = stand(&[]).await;
    stand.start_worker().await.unwrap();
    let insider = Insider::of(&stand).await;
    let owner = &insider.owner;
    let mut people = Vec::new();
    for _ in 0..8 {
        people.push(registered(&stand).await);
    }
    let target = registered(&stand).await;
    let had = dose(HAD_BEFORE, 0);
    spend(owner, had).await;
    let before = live(&stand, &people, &Spray { is_over: AtomicBool::new(true), ..Spray::default() }, 100).await;

    let (spray, started) = (Arc::new(Spray::default()), Instant::now());
    let most = dose(1_000, 1_000_000);
    let sprayers: Vec<_> = (0..SPRAYERS)
        .map(|_| tokio::spawn(Arc::clone(&spray).run(stand.base.clone(), most, started + SPRAY_MAX)))
        .collect();
    let attack = async {
        // Meant for somebody, among all the others.
        for _ in 0..5 {
            assert_eq!(login(&stand, &target, OTHER_PASSWORD).await.status, 401);
        }
        for sprayer in sprayers {
            sprayer.await.unwrap();
        }
        spray.is_over.store(true, Ordering::Relaxed);
    };
    let (times, ()) = tokio::join!(live(&stand, &people, &spray, 100), attack);
    let elapsed = started.elapsed();
    told(owner).await;

    let refused = i64::try_from(spray.refused.load(Ordering::Relaxed)).unwrap();
    let turned_away = i64::try_from(spray.turned_away.load(Ordering::Relaxed)).unwrap();
    let Told { minutes, single, failed, roll_ups, rolled_up, of_nobody } = Told::read(owner, had).await;
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    println!(
        "figure: {refused} guesses refused and {turned_away} turned away in {:.0} s, {minutes} minutes",
        elapsed.as_secs_f64()
    );
    println!(
        "figure: rows without an account {of_nobody}: {single} single ones, {roll_ups} roll-ups of {rolled_up} guesses"
    );
    println!(
        "figure: {} logins of real people meanwhile, p99 {:.1?}; before {:.1?}",
        times.len(),
        p99(&times),
        p99(&before)
    );

    assert!(single <= (SINGLE_ROWS - had) * minutes, "{single} single rows in {minutes} minutes");
    assert!(roll_ups <= ROLL_UPS * (minutes + 1), "{roll_ups} roll-ups in {minutes} minutes");
    let all = failed + rolled_up;
    assert!((refused..=refused + turned_away).contains(&all), "{all} of {refused} are told");
    // Every genuine event is there.
    let logins = i64::try_from(times.len() + before.len()).unwrap();
    assert_eq!(
        count(owner, "select count(*) from events where type = 'LoggedIn' and subject_id is not null").await,
        logins
    );
    assert_eq!(insider.events(&target, "LoginFailed").await, 5);
    assert_eq!(insider.events(&target, "LoginBlocked").await, 1);
    if is_full_dose() {
        assert!(p99(&times) <= LOGIN_P99, "{:?}", p99(&times));
    }
}
