//! Whether a service becomes slower as it grows: the same rows with few accounts and events, and with many, in one run.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use doorbook_dev::advisories::today;
use doorbook_dev::checks::ROOT;
use doorbook_dev::load::{Load, Until};
use serde_json::json;

use crate::house::House;
use crate::machine::{self, Machine};
use crate::scenario::{Dose, Figures, Scenario, figures};
use crate::target::{Target, User};
use crate::{Arguments, Ending, report, requests, run};

/// Where it begins.
const ACCOUNTS: u32 = 1_000;
const EVENTS: i64 = 10_000;

/// How much longer half of the requests, and ninety-nine of a hundred, may take in the large service.
const P50_MOST: f64 = 1.2;
const P99_MOST: f64 = 1.5;

pub const MARKS: &str = "bench-growth";

/// Who reads the trail.
const AUDITOR: &str = "user1@example.com";

struct Row {
    name: &'static str,
    small: Figures,
    large: Figures,
}

impl Row {
    fn ratio(&self, figure: &str) -> f64 {
        let of = |figures: &Figures| figures.get(figure).copied().unwrap_or(f64::NAN);
        of(&self.large) / of(&self.small)
    }

    fn is_met(&self) -> bool {
        self.ratio("p50_ms") <= P50_MOST && self.ratio("p99_ms") <= P99_MOST
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
    house.bring_accounts(ACCOUNTS + 1, accounts).await?;
    house.bring_events(events - EVENTS).await?;
    house.doorbook.grow(accounts);
    // The token of before has ended meanwhile.
    let auditor = house.doorbook.logged_in(1).await?.pop().context("nobody is logged in")?;
    let large = rows(&house, &auditor, dose).await?;
    let rows: Vec<Row> =
        small.into_iter().zip(large).map(|((name, small), (_, large))| Row { name, small, large }).collect();
    drop(house);
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
    for (name, figures) in &rows {
        println!("  {name}: {figures:?}");
    }
    Ok(rows)
}

async fn pages(target: &Arc<Target>, auditor: &User, dose: Dose) -> Result<Figures> {
    let script = target.asking_as("audit", std::slice::from_ref(auditor))?;
    Ok(figures(&Load::closed(Until::Elapsed(dose.lasting)).run(target.base(), vec![script]).await?))
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "| job | p50 small | p50 large | ratio, at most {P50_MOST} | p99 small | p99 large | ratio, at most {P99_MOST} | |\n"
    );
    let _ = writeln!(text, "|{}", "---|".repeat(8));
    for row in rows {
        let _ = write!(text, "| {} |", row.name);
        for figure in ["p50_ms", "p99_ms"] {
            let of = |figures: &Figures| report::number(figures.get(figure).copied().unwrap_or(f64::NAN));
            let ratio = report::number(row.ratio(figure));
            let _ = write!(text, " {} ms | {} ms | {ratio} |", of(&row.small), of(&row.large));
        }
        let _ = writeln!(text, " {} |", if row.is_met() { "met" } else { "**not met**" });
    }
    text
}

fn write(arguments: &Arguments, rows: &[Row], heading: &str, text: &str) -> Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| json!({ "row": row.name, "small": row.small, "large": row.large, "met": row.is_met() }))
        .collect();
    let json = serde_json::to_string_pretty(&json!({ "about": heading, "rows": rows }))? + "\n";
    let is_whole = !arguments.quick && !cfg!(debug_assertions);
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
