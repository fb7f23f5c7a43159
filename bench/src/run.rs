//! A run: every row of every side in turn, several rounds, so that what the machine does meanwhile meets all alike.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use doorbook_dev::advisories::today;
use doorbook_dev::checks::ROOT;
use doorbook_dev::memory;

use crate::goals::{self, Goal};
use crate::house::House;
use crate::machine::Machine;
use crate::peer::Peer;
use crate::results::{DOORBOOK, FLOOR, Results};
use crate::scenario::{Dose, Figures, Scenario, millis};
use crate::{Arguments, Ending, append, flood, hashing, peer, plot, queue, report, requests, steady};

/// Longest that one measurement may take: one that hangs must not cost the others.
const MEASURED_WITHIN: Duration = Duration::from_secs(90);

/// A process has settled down by then.
const IDLE_AFTER: Duration = Duration::from_secs(2);

/// The document, and the marks that the tables stand between.
pub const DOCUMENT: &str = "docs/BENCHMARKS.md";
pub const MARKS: &str = "bench-all";

/// Where JSON and plot of a whole run go.
pub const RESULTS: &str = "docs/results";

pub async fn run(arguments: &Arguments) -> Result<Ending> {
    let begun = Instant::now();
    let (rounds, seconds) = if arguments.quick { (1, 1) } else { (3, 5) };
    let (rounds, seconds) = (arguments.rounds.unwrap_or(rounds), arguments.seconds.unwrap_or(seconds));
    let dose = Dose::new(seconds, arguments.quick);
    let accounts = arguments.accounts.unwrap_or(if arguments.quick { 1_000 } else { 50_000 });
    // First what may be refused, before anything is started.
    let base = arguments.peer_base.as_deref();
    let files = arguments.peer.iter().filter(|peer| *peer != peer::DJANGO);
    let peers = files.map(|file| Peer::of_file(file, base, arguments.allow_remote, accounts));
    let mut peers = peers.collect::<Result<Vec<_>>>()?;
    let cores = thread::available_parallelism()?.get();
    let mut results = Results::new(Machine::here(cores, String::new()), today()?, rounds, seconds);
    results.note_load();
    println!("starting the servers, with {accounts} accounts");
    let house = House::start(accounts, arguments.events.unwrap_or(0), &arguments.engine).await?;
    if arguments.events.is_some() {
        house.check().await?;
    }
    results.machine.postgres = house.postgres().await?;
    results.machine.engine.clone_from(&arguments.engine);
    (results.accounts, results.events) = (accounts, house.events().await?);
    if arguments.peer.iter().any(|peer| peer == peer::DJANGO) {
        println!("starting Django");
        peers.push(peer::django(&house, accounts).await?);
    }
    results.peers = peers.iter().map(|peer| peer.key.clone()).collect();
    if !arguments.only.is_empty() {
        results.scenarios.clone_from(&arguments.only);
    }
    let scenarios = results.scenarios.clone();
    let mut finished = 0;
    for round in 1..=rounds {
        if round > 1 && begun.elapsed() > Duration::from_secs(60 * arguments.minutes) {
            println!("{} minutes are over: no further round begins", arguments.minutes);
            break;
        }
        println!("round {round} of {rounds}");
        results.round = round;
        for scenario in &scenarios {
            measure(*scenario, &house, &peers, dose, &mut results).await;
        }
        finished = round;
    }
    results.rounds = finished;
    drop(peers);
    drop(house);
    finish(arguments, &results, cores, finished == rounds)
}

/// One row of all sides. Before each what the one before it has left behind is cleared away, so that none runs beside leftovers.
async fn measure(scenario: Scenario, house: &House, peers: &[Peer], dose: Dose, results: &mut Results) {
    if scenario.floor().is_some() {
        settle(scenario, house, results).await;
        let found = of_floor(scenario, house, dose);
        note(scenario, FLOOR, within(found).await, results);
    }
    settle(scenario, house, results).await;
    let found = of_doorbook(scenario, house, dose);
    note(scenario, DOORBOOK, within(found).await, results);
    for peer in peers {
        let found = async {
            match scenario {
                Scenario::Flood => flood::measure(&peer.target, dose, None).await,
                _ => requests::measure(scenario, &peer.target, dose).await,
            }
        };
        let has = match scenario {
            Scenario::Flood => peer.target.has("login") && peer.target.has("profile"),
            _ => requests::route(scenario).is_some_and(|route| peer.target.has(route)),
        };
        if has {
            settle(scenario, house, results).await;
            note(scenario, &peer.key, within(found).await, results);
        }
    }
}

async fn settle(scenario: Scenario, house: &House, results: &mut Results) {
    if let Err(error) = house.settle().await {
        results.errors.push(format!("before {}: {error:#}", scenario.title()));
    }
}

async fn within(found: impl Future<Output = Result<Figures>>) -> Result<Figures> {
    tokio::time::timeout(MEASURED_WITHIN, found).await.context("it took too long")?
}

fn note(scenario: Scenario, side: &str, found: Result<Figures>, results: &mut Results) {
    results.note_load();
    match &found {
        Ok(figures) => {
            let figures: Vec<_> =
                figures.iter().map(|(name, value)| format!("{name} {}", report::number(*value))).collect();
            println!("  {} of {side}: {}", scenario.key(), figures.join(", "));
        }
        Err(error) => {
            let error = format!("{error:#}");
            println!("  {} of {side} FAILED: {}", scenario.key(), error.lines().next().unwrap_or_default());
        }
    }
    results.add(scenario, side, found);
}

async fn of_floor(scenario: Scenario, house: &House, dose: Dose) -> Result<Figures> {
    match scenario {
        Scenario::Append => append::floor(&house.cluster, dose.lasting).await,
        Scenario::Login | Scenario::Register => {
            let (cost, threads) = (house.cost, thread::available_parallelism()?.get());
            let rate = tokio::task::spawn_blocking(move || hashing::rate(cost, threads, dose.lasting)).await??;
            Ok(Figures::from([("rate", rate)]))
        }
        _ => requests::measure(scenario, &house.floor, dose).await,
    }
}

async fn of_doorbook(scenario: Scenario, house: &House, dose: Dose) -> Result<Figures> {
    match scenario {
        Scenario::Append => append::doorbook(&house.cluster, dose.lasting).await,
        Scenario::Queue => queue::measure(&house.superuser, dose).await,
        Scenario::Flood => {
            // A process of its own: the most memory that it has ever held is then that of the flood.
            let (program, target) = house.another_api().await?;
            flood::measure(&target, dose, Some(program.pid())).await
        }
        Scenario::Steady => steady::measure(house, dose).await,
        Scenario::Memory => {
            let stand = house.another().await?;
            tokio::time::sleep(IDLE_AFTER).await;
            let worker = stand.worker.as_ref().context("a stand without a worker")?;
            let [api, worker] = [stand.api.pid(), worker.pid()].map(memory::resident);
            Ok(Figures::from([("api_mib", flood::mib(api?)), ("worker_mib", flood::mib(worker?))]))
        }
        Scenario::Start => {
            let begun = Instant::now();
            let _api = house.stand.another_api().await?;
            Ok(Figures::from([("p50_ms", millis(begun.elapsed()))]))
        }
        _ => requests::measure(scenario, &house.doorbook, dose).await,
    }
}

/// Prints the tables and writes what is to be written, whether the goals are met or not; of a run that time cut short, nothing for others.
fn finish(arguments: &Arguments, results: &Results, cores: usize, is_finished: bool) -> Result<Ending> {
    let permits = u32::try_from(cores)?;
    let goals =
        goals::all(f64::from(permits) * f64::from(doorbook_core::password::HashCost::default().memory_kib) / 1024.0);
    let tables = report::tables(results, &goals);
    println!("\n{tables}");
    let is_whole =
        is_finished && arguments.is_by_default() && arguments.only.is_empty() && is_measured(results, &goals);
    if let Some(folder) = &arguments.results {
        write(folder, results, &goals)?;
    } else if is_whole && cfg!(debug_assertions) {
        println!("no document is written: figures of the dev profile say nothing");
    } else if is_whole {
        write(&Path::new(ROOT).join(RESULTS), results, &goals)?;
        publish(MARKS, &tables)?;
    }
    Ok(ending(results, &goals))
}

fn write(folder: &Path, results: &Results, goals: &[Goal]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let json = serde_json::to_string_pretty(&results.json(goals))? + "\n";
    std::fs::write(folder.join("bench.json"), json).context("cannot write bench.json")?;
    std::fs::write(folder.join("bench.svg"), plot::svg(&results.judged(goals))?).context("cannot write bench.svg")
}

/// Puts tables into the document.
pub fn publish(marks: &str, tables: &str) -> Result<()> {
    let path = Path::new(ROOT).join(DOCUMENT);
    let document = std::fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    std::fs::write(&path, report::between(&document, marks, tables)?)
        .with_context(|| format!("cannot write {DOCUMENT}"))
}

fn ending(results: &Results, goals: &[Goal]) -> Ending {
    if !is_measured(results, goals) {
        return Ending::Failed;
    }
    let is_missed = results.judged(goals).iter().any(|judged| judged.met() == Some(false));
    if is_missed { Ending::Missed } else { Ending::Met }
}

/// Whether every goal of the rows that ran can be judged: one that nothing was measured for is not met.
fn is_measured(results: &Results, goals: &[Goal]) -> bool {
    let judged = results.judged(goals);
    let mut shown = judged.iter().filter(|judged| report::is_shown(judged, results));
    results.errors.is_empty() && shown.all(|judged| judged.measured.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_be_measured_and_was_not_is_not_met() {
        let goals = goals::all(200.0);
        let mut results = Results::new(Machine::here(2, "15".to_owned()), "2026-01-02".to_owned(), 1, 1);
        results.scenarios = vec![Scenario::Login, Scenario::Queue];
        let rate = |value| Ok(Figures::from([("rate", value)]));
        results.add(Scenario::Login, DOORBOOK, rate(10.0));
        results.add(Scenario::Login, FLOOR, rate(10.0));
        results.add(Scenario::Queue, DOORBOOK, rate(5_000.0));
        assert_eq!(ending(&results, &goals), Ending::Failed, "the p50 of the queue is not known");
        results.scenarios = vec![Scenario::Login];
        assert_eq!(ending(&results, &goals), Ending::Met, "neither other rows nor a peer were asked for");
        results.peers = vec![peer::DJANGO.to_owned()];
        assert_eq!(ending(&results, &goals), Ending::Failed, "the peer was asked for");
    }
}
