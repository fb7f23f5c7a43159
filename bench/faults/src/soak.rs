//! A long time in which nothing fails, and what grows meanwhile.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use doorbook_dev::memory::resident;
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use crate::pace;
use crate::rig::Rig;

/// Looks while it lasts.
const LOOKS: u32 = 240;

/// Of so many equal parts of the looks the first does not count: buffers, caches and pools fill.
const PARTS: usize = 4;

/// One quantity at one look.
#[derive(Clone, Debug)]
pub struct Reading {
    pub what: String,
    pub after: Duration,
    pub value: f64,
}

/// How a quantity went, the first quarter left out.
#[derive(Clone, Debug)]
pub struct Growth {
    pub what: String,
    pub least: f64,
    pub most: f64,
    pub mean: f64,
    /// Of a line through all readings, in percent of the mean.
    pub percent_an_hour: f64,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, least, most, mean, percent_an_hour } = self;
        write!(f, "{what}: {mean:.0} in the mean, {least:.0} to {most:.0}, {percent_an_hour:+.2} % an hour")
    }
}

/// Looks at everything again and again.
pub async fn watch(rig: &mut Rig, lasts: Duration) -> Result<()> {
    let begun = Instant::now();
    let mut postgres = PgConnection::connect(&rig.superuser_url()).await.context("no Postgres")?;
    while begun.elapsed() < lasts {
        sleep(lasts / LOOKS).await;
        let mut readings = processes(rig)?;
        readings.push(("connections of Postgres".to_owned(), sessions(&mut postgres).await?));
        readings.push(("KiB of Redis".to_owned(), memory_of_redis(rig).await?));
        let paces = pace::look(rig, &mut postgres).await?;
        let after = begun.elapsed();
        rig.paces.extend(paces.into_iter().map(|(what, value)| Reading { what, after, value }));
        rig.readings.extend(readings.into_iter().map(|(what, value)| Reading { what, after, value }));
    }
    Ok(())
}

/// How each quantity went.
pub fn growths(readings: &[Reading]) -> Vec<Growth> {
    let mut found: Vec<Growth> = Vec::new();
    for reading in readings {
        if found.iter().all(|growth| growth.what != reading.what) {
            let same: Vec<_> = readings.iter().filter(|other| other.what == reading.what).collect();
            found.push(growth(&reading.what, &same[same.len() / PARTS..]));
        }
    }
    found
}

fn growth(what: &str, readings: &[&Reading]) -> Growth {
    let count = f64::from(u32::try_from(readings.len().max(1)).unwrap_or(u32::MAX));
    let hours = |reading: &Reading| reading.after.as_secs_f64() / 3_600.0;
    let mean = readings.iter().map(|reading| reading.value).sum::<f64>() / count;
    let middle = readings.iter().map(|reading| hours(reading)).sum::<f64>() / count;
    // Least squares.
    let spread: f64 = readings.iter().map(|reading| (hours(reading) - middle).powi(2)).sum();
    let together: f64 = readings.iter().map(|reading| (hours(reading) - middle) * (reading.value - mean)).sum();
    let slope = if spread > 0.0 { together / spread } else { 0.0 };
    let values = || readings.iter().map(|reading| reading.value);
    Growth {
        what: what.to_owned(),
        least: values().fold(f64::INFINITY, f64::min),
        most: values().fold(0.0, f64::max),
        mean,
        percent_an_hour: if mean > 0.0 { 100.0 * slope / mean } else { 0.0 },
    }
}

/// Memory and open files of each process.
fn processes(rig: &Rig) -> Result<Vec<(String, f64)>> {
    let mut readings = Vec::new();
    for (name, nodes) in [("api", &rig.apis), ("worker", &rig.workers)] {
        for (number, node) in nodes.iter().enumerate() {
            let pid = node.program.pid();
            let files = fs::read_dir(format!("/proc/{pid}/fd")).context("a process is gone")?.count();
            readings.push((format!("KiB of {name} {number}"), kib(resident(pid)?)?));
            readings.push((format!("open files of {name} {number}"), f64::from(u32::try_from(files)?)));
        }
    }
    Ok(readings)
}

async fn sessions(postgres: &mut PgConnection) -> Result<f64> {
    let count = "select count(*)::float8 from pg_stat_activity where backend_type = 'client backend'";
    Ok(sqlx::query_scalar(count).fetch_one(postgres).await?)
}

async fn memory_of_redis(rig: &Rig) -> Result<f64> {
    let told: redis::InfoDict = redis::cmd("INFO").arg("memory").query_async(&mut rig.redis().await?).await?;
    let bytes: u64 = told.get("used_memory").context("Redis tells no memory")?;
    kib(bytes)
}

fn kib(bytes: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(bytes / 1_024)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_by_a_percent_an_hour_is_told_so_and_its_beginning_is_left_out() {
        let readings: Vec<_> = (0..=8_u32)
            .flat_map(|quarter| {
                let after = Duration::from_mins(15) * quarter;
                let value = if quarter < 2 { 1.0 } else { 1_000.0 + 2.5 * f64::from(quarter) };
                [("growing", value), ("flat", 7.0)].map(|(what, value)| Reading { what: what.into(), after, value })
            })
            .collect();
        let growths = growths(&readings);
        assert_eq!(growths.len(), 2);
        assert!((growths[0].percent_an_hour - 0.987).abs() < 0.01, "{growths:?}");
        assert!(growths[1].percent_an_hour.abs() < f64::EPSILON, "{growths:?}");
        assert!((growths[0].least - 1_005.0).abs() < f64::EPSILON, "{growths:?}");
    }
}
