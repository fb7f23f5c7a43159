//! Whether a service becomes slower as it grows: the same rows with few accounts and events, and with many, in one run.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doorbook_dev::advisories::today;
use doorbook_dev::checks::ROOT;
use doorbook_dev::load::{Load, Until};
use doorbook_dev::memory;
use serde_json::json;

use crate::house::House;
use crate::machine::{self, Machine};
use crate::scenario::{Dose, Figures, Scenario, figures};
use crate::target::{Target, User};
use crate::{Arguments, Ending, flood, report, requests, run};

/// Where it begins.
const ACCOUNTS: u32 = 1_000;
const EVENTS: i64 = 10_000;

/// Figures that a row may have, their titles and units, and how many times as much each may be in the large service.
const MOST: [(&str, &str, &str, f64); 4] = [
    ("p50_ms", "p50", "ms", 1.2),
    ("p99_ms", "p99", "ms", 1.5),
    ("mib", "resident", "MiB", 1.2),
    ("ready_ms", "until it is ready", "ms", 1.2),
];

/// Apis that are started, one after the other.
const STARTS: usize = 7;

/// When the memory of the hashes is given back, and a little more.
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(35);

pub const MARKS: &str = "bench-growth";

/// Who reads the trail.
const AUDITOR: &str = "user1@example.com";

struct Row {
    name: &'static str,
    small: Figures,
    large: Figures,
}

impl Row {
    /// The figures that it has, each of both services.
    fn lines(&self) -> Vec<Line> {
        let line = |(figure, title, unit, most)| {
            let (small, large) = (*self.small.get(figure)?, self.large.get(figure).copied().unwrap_or(f64::NAN));
            Some(Line { title, unit, small, large, most })
        };
        MOST.into_iter().filter_map(line).collect()
    }

    fn is_met(&self) -> bool {
        self.lines().iter().all(Line::is_met)
    }
}

struct Line {
    title: &'static str,
    unit: &'static str,
    small: f64,
    large: f64,
    most: f64,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.large / self.small
    }

    fn is_met(&self) -> bool {
        self.ratio() <= self.most
    }
}

pub async fn run(arguments: &Arguments) -> Result<Ending> {
    let (accounts, events) = (arguments.accounts.unwrap_or(1_000_000), arguments.events.unwrap_or(10_000_000));
    ensure!(accounts > ACCOUNTS && events > EVENTS, "it grows from {ACCOUNTS} accounts and {EVENTS} events");
    let dose = Dose::new(arguments.seconds.unwrap_or(if arguments.quick { 1 } else { 20 }), arguments.quick);
    let mut machine = Machine::here(thread::available_parallelism()?.get(), String::new());
    let before = machine::load();
    let house = House::start(ACCOUNTS, EVENTS, &arguments.engine).await?;
    machine.postgres = house.postgres().await?;
    let grant = ["account", "role", "grant", AUDITOR, "auditor", "--reason", "it reads the trail of the bench"];
    house.stand.doorbook(&grant).await?;
    // The first account in turn, and nobody else yet.
    let auditor = house.doorbook.logged_in(1).await?.pop().context("nobody is logged in")?;
    println!("{ACCOUNTS} accounts, {EVENTS} events");
    let small = rows(&house, &auditor, dose).await?;
    println!("growing to {accounts} accounts and {events} events");
    house.bring(ACCOUNTS + 1, accounts, events - EVENTS).await?;
    house.doorbook.grow(accounts);
    println!("grown");
    // The token of before has ended meanwhile.
    let auditor = house.doorbook.logged_in(1).await?.pop().context("nobody is logged in")?;
    let large = rows(&house, &auditor, dose).await?;
    let rows: Vec<Row> =
        small.into_iter().zip(large).map(|((name, small), (_, large))| Row { name, small, large }).collect();
    let heading = format!(
        "{}: {}, {} cores, Postgres {}, {} profile; {ACCOUNTS} accounts and {EVENTS} events, then {accounts} and {events}; load before {}.",
        today()?,
        machine.processor,
        machine.cores,
        machine.postgres,
        machine.profile,
        before.map_or_else(|| "–".to_owned(), report::number),
    );
    let text = format!("{heading}\n\n{}", table(&rows));
    println!("\n{text}");
    write(arguments, &rows, &heading, &text)?;
    // After the figures: it reads the whole log.
    house.check().await?;
    drop(house);
    Ok(if rows.iter().all(Row::is_met) { Ending::Met } else { Ending::Missed })
}

async fn rows(house: &House, auditor: &User, dose: Dose) -> Result<Vec<(&'static str, Figures)>> {
    let mut rows = Vec::new();
    for scenario in [Scenario::Login, Scenario::Profile, Scenario::Refresh] {
        house.settle().await?;
        rows.push((scenario.title(), requests::measure(scenario, &house.doorbook, dose).await?));
    }
    house.settle().await?;
    rows.push(("a page of the trail, 1 connection", pages(&house.doorbook, auditor, dose).await?));
    tokio::time::sleep(GIVEN_BACK_AFTER).await;
    let worker = house.stand.worker.as_ref().context("a stand without a worker")?;
    for (name, program) in [("memory of the api afterwards", &house.stand.api), ("memory of the worker", worker)] {
        rows.push((name, Figures::from([("mib", flood::mib(memory::resident(program.pid())?))])));
    }
    rows.push(("another api", Figures::from([("ready_ms", ready(house).await?)])));
    for (name, figures) in &rows {
        println!("  {name}: {figures:?}");
    }
    Ok(rows)
}

/// Milliseconds from an api's start to its readiness, in the middle of several.
async fn ready(house: &House) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let (program, _) = house.another_api().await?;
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        drop(program);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[STARTS / 2])
}

async fn pages(target: &Arc<Target>, auditor: &User, dose: Dose) -> Result<Figures> {
    let script = target.asking_as("audit", std::slice::from_ref(auditor))?;
    Ok(figures(&Load::closed(Until::Elapsed(dose.lasting)).run(target.base(), vec![script]).await?))
}

fn table(rows: &[Row]) -> String {
    let mut text = "| job | figure | small | large | ratio | at most | |\n".to_owned();
    let _ = writeln!(text, "|{}", "---|".repeat(7));
    for row in rows {
        for line in row.lines() {
            let [small, large, ratio, most] = [line.small, line.large, line.ratio(), line.most].map(report::number);
            let (title, unit, met) = (line.title, line.unit, if line.is_met() { "met" } else { "**not met**" });
            let _ = writeln!(
                text,
                "| {} | {title} | {small} {unit} | {large} {unit} | {ratio} | {most} | {met} |",
                row.name
            );
        }
    }
    text
}

fn write(arguments: &Arguments, rows: &[Row], heading: &str, text: &str) -> Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| json!({ "row": row.name, "small": row.small, "large": row.large, "met": row.is_met() }))
        .collect();
    let json = serde_json::to_string_pretty(&json!({ "about": heading, "rows": rows }))? + "\n";
    let is_whole = arguments.is_by_default() && !cfg!(debug_assertions);
    match &arguments.results {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join("growth.json"), json)?;
        }
        None if is_whole => {
            std::fs::write(Path::new(ROOT).join(run::RESULTS).join("growth.json"), json)?;
            run::publish(MARKS, text)?;
        }
        None => {}
    }
    Ok(())
}
