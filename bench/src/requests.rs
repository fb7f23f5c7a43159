//! Rows that are one route each, asked without pause over a few connections.

use std::sync::Arc;

use anyhow::{Result, ensure};
use doorbook_dev::load::{Load, Outcome, Surplus, Until};

use crate::scenario::{Dose, Figures, Scenario, figures};
use crate::target::{Target, User};

/// Connections of the rows without hashes.
pub const CONNECTIONS: usize = 8;

/// Clients of the rows with hashes.
pub const HASHING_CLIENTS: usize = 10;

/// Of so many that are served one may be told to come back, where hashes are waited for: who serves a few fast has no figure here.
const SERVED_FOR_EACH_TURNED_AWAY: u64 = 100;

/// The route that a row asks, if it is a row of this kind.
pub const fn route(scenario: Scenario) -> Option<&'static str> {
    match scenario {
        Scenario::Login
        | Scenario::Register
        | Scenario::Profile
        | Scenario::Refresh
        | Scenario::Reset
        | Scenario::Live
        | Scenario::Ready => Some(scenario.key()),
        _ => None,
    }
}

/// Asks it of a service that is there.
pub async fn measure(scenario: Scenario, target: &Arc<Target>, dose: Dose) -> Result<Figures> {
    let route = scenario.key();
    let outcome = match scenario {
        Scenario::Profile => {
            let users = target.logged_in(dose.users).await?;
            reading(target, route, &users, dose).await?
        }
        Scenario::Refresh => {
            let users = target.logged_in(CONNECTIONS).await?;
            load(dose).run(target.base(), users.into_iter().map(|user| target.refreshing(user)).collect()).await?
        }
        Scenario::Live | Scenario::Ready => {
            let request = target.request(route, None)?;
            let scripts = (0..CONNECTIONS).map(|_| {
                let request = request.clone();
                move |_: &[u8]| Ok(request.clone())
            });
            load(dose).run(target.base(), scripts.collect()).await?
        }
        _ => {
            let (clients, load) = match scenario {
                Scenario::Reset => (CONNECTIONS, load(dose)),
                _ => (HASHING_CLIENTS, Load::closed(Until::Elapsed(dose.lasting))),
            };
            load.run(target.base(), (0..clients).map(|_| target.asking(route)).collect()).await?
        }
    };
    let (served, turned_away) = (outcome.requests(), outcome.turned_away());
    ensure!(
        turned_away.saturating_sub(1) * SERVED_FOR_EACH_TURNED_AWAY <= served,
        "{route}: {turned_away} were turned away and {served} served"
    );
    Ok(figures(&outcome))
}

/// Without hashes nobody may be turned away.
pub const fn load(dose: Dose) -> Load {
    Load { surplus: Surplus::Fail, ..Load::closed(Until::Elapsed(dose.lasting)) }
}

/// Reads as these users over a few connections, each with users of its own.
pub async fn reading(target: &Arc<Target>, route: &'static str, users: &[User], dose: Dose) -> Result<Outcome> {
    let each = users.len().div_ceil(CONNECTIONS).max(1);
    let scripts = users.chunks(each).map(|users| target.asking_as(route, users)).collect::<Result<Vec<_>>>()?;
    load(dose).run(target.base(), scripts).await
}
