//! How a row is run and what must hold in each.

use std::sync::LazyLock;
use std::time::Duration;

use doorbook_faults::campaign::{self, Plan, RESTED, Report};
use doorbook_faults::rows::Row;
use tokio::sync::Mutex;

/// One at a time: each takes what a small machine has.
static TURN: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// The first write after a fault. Source: bar 6.
pub const WRITES_AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// How much longer than otherwise requests may take while a dependency that they do not need is away, and soon after a fault. Source: bar 6;
/// and what a busy machine adds to a few milliseconds.
pub const TIMES_SLOWER: u32 = 2;
pub const SLACK: Duration = Duration::from_millis(150);

/// Whether the whole dose is asked for.
pub fn is_full() -> bool {
    std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full")
}

/// What a row does at this dose.
pub fn plan(name: &str) -> Plan {
    let seed = std::env::var("DOORBOOK_SEED").map_or(1, |seed| seed.parse().expect("DOORBOOK_SEED is a number"));
    Row::named(name).unwrap().plan(seed, is_full())
}

/// Runs a row as it stands.
pub async fn row(name: &str) -> Report {
    calmed(&plan(name)).await
}

/// Runs a plan; nothing is lost, doubled or answered 500, and soon after a fault all is well.
pub async fn calmed(plan: &Plan) -> Report {
    let report = run(plan).await;
    if plan.faults.iter().any(|(_, lasts)| *lasts > RESTED * 3) {
        assert_rested(&report);
    }
    report
}

/// Runs a plan; nothing is lost, doubled or answered 500.
pub async fn run(plan: &Plan) -> Report {
    let _turn = TURN.lock().await;
    let Plan { name, seed, people, rate, .. } = plan;
    println!("figure: {name}, seed {seed}, {people} people, {rate} operations a second");
    let report = campaign::run(plan).await.unwrap();
    report.print();
    let faults = report.faults();
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    report
}

/// Between its faults nobody is left without a good answer either. Only for rows whose faults are over for clients when they end. After those of
/// Postgres some are told to come back for a moment more, which the time to the first write bounds; requests around the kill of an api are counted
/// by how they lie to it (`Report::failures`).
pub fn assert_calm(report: &Report) {
    let calm = report.calm();
    assert_eq!(calm.failed(), 0, "between the faults: {calm}");
}

/// Soon after a fault nobody is turned away, nor waits longer than before the first.
fn assert_rested(report: &Report) {
    let (before, after) = (report.before().percentile(99), report.rested());
    assert!(after.done > 0, "{after}");
    assert_eq!(after.failed(), 0, "{after}");
    assert!(after.percentile(99) <= before * TIMES_SLOWER + SLACK, "{before:?} before, {after}");
}
