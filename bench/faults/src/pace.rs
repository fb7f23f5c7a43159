//! How fast the machine itself is while a long load goes on: whether the service or what is below it became slower.

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use sqlx::PgConnection;

use crate::rig::Rig;
use crate::soak::Reading;

/// Of so many tries the middle one counts.
const TRIES: usize = 5;

/// Steps of the fixed work: about a millisecond.
const STEPS: u64 = 1_000_000;

/// Postgres' page.
const PAGE: usize = 8_192;

const COUNTS: &str =
    "select blks_hit::float8, blks_read::float8 from pg_stat_database where datname = current_database()";

/// One look. What Postgres reads counts from its start.
pub(crate) async fn look(rig: &Rig, postgres: &mut PgConnection) -> Result<Vec<(String, f64)>> {
    let file = rig.cluster.run().folder().join("pace");
    let [work, disk] = tokio::task::spawn_blocking(move || {
        let file = File::create(file).context("cannot write beside the data")?;
        anyhow::Ok([middle(|| Ok(work()))?, middle(|| synced(&file))?])
    })
    .await??;
    let (hits, reads): (f64, f64) = sqlx::query_as(COUNTS).fetch_one(postgres).await?;
    Ok([
        ("us of the processor for a fixed work", micros(work)),
        ("us until a page is on the disk", micros(disk)),
        ("pages that Postgres had in its buffers", hits),
        ("pages that it had to read", reads),
    ]
    .map(|(what, value)| (what.to_owned(), value))
    .into())
}

/// In each quarter: the mean of what was measured, and by how much a count rose.
pub(crate) fn by_quarters(readings: &[Reading]) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for reading in readings {
        if !names.contains(&reading.what.as_str()) {
            names.push(&reading.what);
        }
    }
    let line = |what: &&str| {
        let values: Vec<f64> = readings.iter().filter(|other| other.what == *what).map(|other| other.value).collect();
        let part = values.len().div_ceil(4).max(1);
        let each = |part: &[f64]| {
            let count = f64::from(u32::try_from(part.len()).unwrap_or(u32::MAX));
            let mean = part.iter().sum::<f64>() / count;
            let rise = part.last().unwrap_or(&0.0) - part.first().unwrap_or(&0.0);
            format!("{:.0}", if what.starts_with("pages") { rise } else { mean })
        };
        format!("{what}, by quarters: {}", values.chunks(part).map(each).collect::<Vec<_>>().join(", "))
    };
    names.iter().map(line).collect()
}

fn middle(mut once: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut took = (0..TRIES).map(|_| once()).collect::<Result<Vec<_>>>()?;
    took.sort_unstable();
    Ok(took[TRIES / 2])
}

/// Time that this thread had the processor, so that whoever else wants it does not count.
fn work() -> Duration {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let (began, mut state) = (now(), 0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..STEPS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state = black_box(state);
    }
    now().saturating_sub(began)
}

fn synced(mut file: &File) -> Result<Duration> {
    let began = Instant::now();
    file.write_all(&[0; PAGE]).and_then(|()| file.sync_data()).context("cannot write beside the data")?;
    Ok(began.elapsed())
}

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_its_means_and_a_count_by_what_it_rose() {
        let readings: Vec<_> = (0..8_u32)
            .flat_map(|look| {
                let after = Duration::from_secs(30) * look;
                [("us of a thing", 10.0 + f64::from(look)), ("pages of it", 100.0 * f64::from(look))]
                    .map(|(what, value)| Reading { what: what.into(), after, value })
            })
            .collect();
        assert_eq!(
            by_quarters(&readings),
            ["us of a thing, by quarters: 10, 12, 14, 16", "pages of it, by quarters: 100, 100, 100, 100"]
        );
    }
}
