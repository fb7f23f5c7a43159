//! Logins without pause: what they leave to others, and what becomes of the surplus.

use std::sync::Arc;

use anyhow::Result;
use doorbook_dev::load::{Load, Pace, Surplus, Until};
use doorbook_dev::memory;

use crate::requests::{CONNECTIONS, HASHING_CLIENTS};
use crate::scenario::{Dose, Figures, millis};
use crate::target::Target;

/// Clients that log in.
const CLIENTS: usize = 64;

/// Profiles that are read a second meanwhile: few enough that reading them is no load by itself.
const PROFILES_A_SECOND: f64 = 100.0;

/// Logins alone, as many as are served; then many more, while profiles are read at a fixed rate. `api` is the pid whose memory is
/// looked at: the most that it has ever held.
pub async fn measure(target: &Arc<Target>, dose: Dose, api: Option<u32>) -> Result<Figures> {
    let logins = |clients: usize| (0..clients).map(|_| target.asking("login")).collect::<Vec<_>>();
    let alone = Load::closed(Until::Elapsed(dose.lasting)).run(target.base(), logins(HASHING_CLIENTS)).await?;
    let readers = target.logged_in(CONNECTIONS).await?;
    // Ninety-nine of a hundred are to be told apart: twice as long as other loads.
    let until = Until::Elapsed(2 * dose.lasting);
    let flood = Load { surplus: Surplus::GoOn, ..Load::closed(until) };
    let profiles = Load { pace: Pace::Open(PROFILES_A_SECOND), surplus: Surplus::Fail, ..flood };
    let scripts = readers.iter().map(|reader| target.asking_as("profile", std::slice::from_ref(reader)));
    let scripts = scripts.collect::<Result<Vec<_>>>()?;
    let (flooded, read) =
        tokio::try_join!(flood.run(target.base(), logins(CLIENTS)), profiles.run(target.base(), scripts))?;
    let mut figures = Figures::from([
        ("alone_rate", alone.rate()),
        ("admitted_rate", flooded.rate()),
        ("admitted_share", flooded.rate() / alone.rate()),
        ("login_p99_ms", millis(flooded.percentile(99))),
        ("p50_ms", millis(read.percentile(50))),
        ("p99_ms", millis(read.percentile(99))),
    ]);
    if flooded.turned_away() > 0 {
        figures.insert("surplus_p99_ms", millis(flooded.percentile_turned_away(99)));
    }
    if let Some(pid) = api {
        figures.insert("api_mib", mib(memory::peak(pid)?));
    }
    Ok(figures)
}

/// In MiB. Exact below 4 TiB.
pub fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}
