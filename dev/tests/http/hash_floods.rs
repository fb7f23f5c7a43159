//! More logins than the machine has hashes for: what they leave to everybody else, and what becomes of the surplus.

use std::time::Duration;

use doorbook_dev::Answer;
use doorbook_dev::load::{Load, Outcome, Pace, Script, Surplus, Until};
use doorbook_dev::memory::resident;
use tokio::time::sleep;

use crate::common::*;
use crate::speed::{logging_in, reading, refreshing};

/// Clients that log in, each into an account of its own.
const CLIENTS: usize = 64;
/// Logins that are due a second. Source: bar 6. The small dose has a quarter, several times what is served: a debug build that shares the
/// machine with other tests would be busy with its refusals alone, and then it is late for everybody.
const LOGINS_A_SECOND: (f64, f64) = (50.0, 200.0);
/// Profiles that are due a second meanwhile, and as many refreshes.
const OTHERS_A_SECOND: f64 = 50.0;
/// Clients that read profiles, and as many that refresh.
const OTHERS: usize = 8;

/// Hashes at once, and the memory of each.
const PERMITS: u64 = 2;
const HASH_MIB: u64 = 100;
/// Further memory that the flood may cost. Source: bar 6.
const FURTHER_MIB: u64 = 64;
/// The others, and the answers to the surplus. Source: bar 6, which asks it of 99 of 100.
const OTHERS_WITHIN: Duration = Duration::from_millis(150);
const SURPLUS_WITHIN: Duration = Duration::from_secs(2);
/// Everything is as before so long after it. Source: bar 6.
const OVER_WITHIN: Duration = Duration::from_secs(2);

/// Requests that are due so often a second, whatever becomes of them.
async fn due<S: Script>(base: &str, rate: f64, lasting: Duration, scripts: Vec<S>) -> Outcome {
    let load = Load { pace: Pace::Open(rate), surplus: Surplus::GoOn, ..Load::closed(Until::Elapsed(lasting)) };
    load.run(base, scripts).await.unwrap_or_else(|error| panic!("{error:#}"))
}

/// C107. Breaks when `core/src/password/admission.rs`: `const WAIT_MAX: Duration = Duration::from_secs(2);` → `const WAIT_MAX: Duration = Duration::from_secs(200);`.
/// Release: the bar names times.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_is_turned_away_in_time_and_leaves_all_others_alone() {
    let permits = PERMITS.to_string();
    let dear = [
        ("ARGON2_MEMORY_KIB", "102400"),
        ("ARGON2_TIME_COST", "2"),
        ("ARGON2_PARALLELISM", "8"),
        ("ARGON2_CONCURRENCY", &permits),
    ];
    let stand = stand(&dear).await;
    let (idle, elsewhere) = stand.another_api_with(&dear).await.unwrap();
    let base = resident(idle.pid()).unwrap();
    let mut people = Vec::new();
    for _ in 0..CLIENTS / 2 + 3 * OTHERS / 2 {
        let (one, other) = tokio::join!(registered(&stand), registered(&stand));
        people.extend([one, other]);
    }
    // Not those who log in: their oldest session ends with the eleventh.
    let (others, people) = people.split_at(3 * OTHERS);

    // A process that has just begun opens its connections under the first load: that is not what is asked here.
    let first = people.iter().map(|email| logging_in(&stand, email)).collect();
    let rate = dose(LOGINS_A_SECOND.0, LOGINS_A_SECOND.1);
    due(&stand.base, rate, OVER_WITHIN, first).await;

    for _ in 0..dose(1, 3) {
        let mut sessions = Vec::new();
        for email in others {
            sessions.push(logged_in(&stand, email).await.1);
        }
        let (spenders, readers) = sessions.split_at(OTHERS);
        let (readers, beside) = readers.split_at(OTHERS);
        let lasting = dose(Duration::from_secs(15), Duration::from_secs(60));
        let flood = people.iter().map(|email| logging_in(&stand, email)).collect();
        let reads = |readers: &[Answer]| {
            readers.iter().map(|session| reading(&stand, session.text("access"))).collect::<Vec<_>>()
        };
        let rotations = spenders.iter().map(|session| refreshing(&stand, session.text("refresh"))).collect();
        let memory = async {
            let mut most = 0;
            for _ in 0..lasting.as_millis() / 50 {
                sleep(Duration::from_millis(50)).await;
                most = most.max(resident(stand.api.pid()).unwrap());
            }
            most
        };
        let (logins, profiles, refreshes, beside, most) = tokio::join!(
            due(&stand.base, rate, lasting, flood),
            due(&stand.base, OTHERS_A_SECOND, lasting, reads(readers)),
            due(&stand.base, OTHERS_A_SECOND, lasting, rotations),
            due(&elsewhere, OTHERS_A_SECOND, lasting, reads(beside)),
            memory
        );
        sleep(OVER_WITHIN).await;
        let after = due(&stand.base, OTHERS_A_SECOND, OVER_WITHIN, reads(readers)).await;
        println!("figure: logins {logins}, within {:.1?}", logins.percentile_turned_away(99));
        println!("figure: profiles {profiles}; two seconds later {after}");
        println!("figure: refreshes {refreshes}; profiles of a process without a flood {beside}");
        println!("figure: {} MiB of memory, {} MiB idle", most >> 20, base >> 20);
        assert!(logins.requests() > 0 && logins.turned_away() > 0, "{logins}");
        // One halt of a machine with other work is longer than one in a hundred of the small dose, and it meets whoever is at work.
        let percent = dose(95, 99);
        assert!(logins.percentile_turned_away(percent) <= SURPLUS_WITHIN, "{logins}");
        assert!(most <= base + ((PERMITS * HASH_MIB + FURTHER_MIB) << 20), "{most} bytes, {base} idle");
        // What the machine keeps everybody waiting for is not the flood's doing; the whole dose has a quiet one.
        let within = OTHERS_WITHIN + dose(beside.percentile(percent), Duration::ZERO);
        for others in [profiles, refreshes, after] {
            assert_eq!(others.turned_away(), 0, "{others}");
            assert!(others.percentile(percent) <= within, "{others}, beside {beside}");
        }
    }
}
