//! Whether a service becomes slower as it grows: the same rows with few accounts and events, and with many, in turn.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doorbook_dev::advisories::today;
use doorbook_dev::checks::ROOT;
use doorbook_dev::{Program, memory};
use serde_json::json;
use tokio::time::sleep;

use crate::house::House;
use crate::machine::{self, Machine};
use crate::scenario::{Dose, Figures, Scenario, figures, median, millis};
use crate::target::{Target, User};
use crate::{Arguments, Ending, flood, report, requests, run};

/// The small one.
const ACCOUNTS: u32 = 1_000;
const EVENTS: i64 = 10_000;

/// Figures that a row may have, their titles and units, and how many times as much each may be in the large service.
const MOST: [(&str, &str, &str, f64); 4] = [
    ("p50_ms", "p50", "ms", 1.2),
    ("p99_ms", "p99", "ms", 1.5),
    ("mib", "resident", "MiB", 1.2),
    ("ready_ms", "until it is ready", "ms", 1.2),
];

/// How often each is measured.
const ROUNDS: u32 = 3;

/// Apis that are started, one after the other.
const STARTS: usize = 7;

/// When the memory of the hashes is given back, and a little more.
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(35);

pub const MARKS: &str = "bench-growth";

/// What is measured of both services.
const ROWS: [What; 7] = [
    What::Route(Scenario::Login),
    What::Route(Scenario::Profile),
    What::Route(Scenario::Refresh),
    What::Trail,
    What::Api,
    What::Worker,
    What::Start,
];

#[derive(Clone, Copy)]
enum What {
    Route(Scenario),
    Trail,
    Api,
    Worker,
    Start,
}

impl What {
    const fn title(self) -> &'static str {
        match self {
            Self::Route(scenario) => scenario.title(),
            Self::Trail => "a page of the trail, 1 connection",
            Self::Api => "memory of the api afterwards",
            Self::Worker => "memory of the worker",
            Self::Start => "another api",
        }
    }
}

/// A service and who reads its trail.
struct Side {
    house: House,
    auditor: User,
}

impl Side {
    async fn start(accounts: u32, events: i64, engine: &str) -> Result<House> {
        let house = House::start(accounts, events, engine).await?;
        house.appoint_auditor().await?;
        println!("{accounts} accounts, {events} events");
        Ok(house)
    }

    /// Once both are there: a token ends sooner than a million accounts are.
    async fn new(house: House) -> Result<Self> {
        // The first account in turn, and nobody else yet.
        let auditor = house.doorbook.logged_in(1).await?.pop().context("nobody is logged in")?;
        Ok(Self { house, auditor })
    }

    async fn measure(&self, what: What, dose: Dose) -> Result<Figures> {
        let house = &self.house;
        let memory = |program: &Program| Ok(Figures::from([("mib", flood::mib(memory::resident(program.pid())?))]));
        match what {
            What::Route(scenario) => {
                house.settle().await?;
                requests::measure(scenario, &house.doorbook, dose).await
            }
            What::Trail => {
                house.settle().await?;
                pages(&house.doorbook, &self.auditor, dose).await
            }
            What::Api => {
                sleep(GIVEN_BACK_AFTER).await;
                memory(&house.stand.api)
            }
            What::Worker => memory(house.stand.worker.as_ref().context("a stand without a worker")?),
            What::Start => Ok(Figures::from([("ready_ms", ready(house).await?)])),
        }
    }
}

/// What all rounds have found.
struct Row {
    name: &'static str,
    small: Vec<Figures>,
    large: Vec<Figures>,
}

impl Row {
    /// The figures that it has, each of both services.
    fn lines(&self) -> Vec<Line> {
        let of = |rounds: &[Figures], figure| rounds.iter().map(|round| round.get(figure).copied()).collect();
        let line = |(figure, title, unit, most)| {
            let (small, large): (Option<Vec<f64>>, Option<Vec<f64>>) =
                (of(&self.small, figure), of(&self.large, figure));
            let (small, large) = (small?, large?);
            let ratio = median(small.iter().zip(&large).map(|(small, large)| large / small).collect())?;
            Some(Line { title, unit, small: median(small)?, large: median(large)?, ratio, most })
        };
        MOST.into_iter().filter_map(line).collect()
    }

    fn is_met(&self) -> bool {
        self.lines().iter().all(Line::is_met)
    }
}

/// Medians of both, and the middle one of the rounds' ratios.
struct Line {
    title: &'static str,
    unit: &'static str,
    small: f64,
    large: f64,
    ratio: f64,
    most: f64,
}

impl Line {
    fn is_met(&self) -> bool {
        self.ratio <= self.most
    }
}

pub async fn run(arguments: &Arguments) -> Result<Ending> {
    let (accounts, events) = (arguments.accounts.unwrap_or(1_000_000), arguments.events.unwrap_or(10_000_000));
    ensure!(accounts > ACCOUNTS && events > EVENTS, "the small service has {ACCOUNTS} accounts and {EVENTS} events");
    let dose = Dose::new(arguments.seconds.unwrap_or(if arguments.quick { 1 } else { 20 }), arguments.quick);
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { ROUNDS });
    let mut machine = Machine::here(thread::available_parallelism()?.get(), String::new());
    let large = Side::start(accounts, events, &arguments.engine).await?;
    let small = Side::start(ACCOUNTS, EVENTS, &arguments.engine).await?;
    machine.postgres = large.postgres().await?;
    let before = machine::load();
    let (small, large) = (Side::new(small).await?, Side::new(large).await?);
    let rows = rows(&small, &large, rounds, dose).await?;
    let heading = format!(
        "{}: {}, {} cores, Postgres {}, {} profile; {ACCOUNTS} accounts and {EVENTS} events, and {accounts} and {events}, in turn; {rounds} rounds of {} s, medians; load before {}.",
        today()?,
        machine.processor,
        machine.cores,
        machine.postgres,
        machine.profile,
        dose.lasting.as_secs(),
        before.map_or_else(|| "–".to_owned(), report::number),
    );
    let text = format!("{heading}\n\n{}", table(&rows));
    println!("\n{text}");
    // After the figures, as it reads the whole log; before they are published, as data that are not true say nothing.
    for side in [small, large] {
        side.house.check().await?;
    }
    write(arguments, &rows, &heading, &text)?;
    Ok(if rows.iter().all(Row::is_met) { Ending::Met } else { Ending::Missed })
}

/// Both services in turn, row by row and round by round: the machine's pace changes from one minute to the next.
async fn rows(small: &Side, large: &Side, rounds: u32, dose: Dose) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for what in ROWS {
        let mut row = Row { name: what.title(), small: Vec::new(), large: Vec::new() };
        for round in 0..rounds {
            // Each is the first half of the time.
            if round % 2 == 0 {
                row.small.push(small.measure(what, dose).await?);
                row.large.push(large.measure(what, dose).await?);
            } else {
                row.large.push(large.measure(what, dose).await?);
                row.small.push(small.measure(what, dose).await?);
            }
        }
        println!("  {}: {:?}, {:?}", row.name, row.small, row.large);
        rows.push(row);
    }
    Ok(rows)
}

/// Milliseconds from an api's start to its readiness, in the middle of several.
async fn ready(house: &House) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let (program, _) = house.another_api().await?;
        times.push(millis(begun.elapsed()));
        drop(program);
    }
    median(times).context("no start was measured")
}

async fn pages(target: &Arc<Target>, auditor: &User, dose: Dose) -> Result<Figures> {
    let script = target.asking_as("audit", std::slice::from_ref(auditor))?;
    Ok(figures(&requests::load(dose).run(target.base(), vec![script]).await?))
}

fn table(rows: &[Row]) -> String {
    let mut text = "| job | figure | small | large | ratio | at most | |\n".to_owned();
    let _ = writeln!(text, "|{}", "---|".repeat(7));
    for row in rows {
        for line in row.lines() {
            let [small, large, ratio, most] = [line.small, line.large, line.ratio, line.most].map(report::number);
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
