//! The mixed load: operations of many people at a steady rate. One that is due while nobody is free, or while as many are under way as may be,
//! is left out and counted, not made up for: a service that hangs is asked for less.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::frontend::{Asked, ask};
use crate::ledger::{Action, Intent, Outcome};
use crate::people::{Knowledge, Person};
use crate::visit::{Town, intent};

/// Operations under way at once: a service that hangs gets fewer, not a flood when it wakes up.
const IN_FLIGHT: usize = 64;

/// Operations under way while everybody is registered: as many as a small machine hashes, and a few on their way.
const AT_ONCE: usize = 6;

/// How often somebody who cannot be registered is tried, and the pause between.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// People looked at to find one who is not busy.
const LOOKS: usize = 16;

/// Between two guesses at the password of one account.
const GUESS_EVERY: Duration = Duration::from_millis(700);

/// The account whose password is guessed.
pub const VICTIM: usize = 1_000_000;

/// How many of a hundred operations, from each to the next: bar 6.
const MIX: [(Action, u32); 7] = [
    (Action::Login, 30),
    (Action::Refresh, 35),
    (Action::Profile, 20),
    (Action::Register, 5),
    (Action::Reset, 5),
    (Action::Change, 3),
    (Action::Logout, 2),
];

/// What has come of a load.
pub struct Loaded {
    /// Everybody there is by now.
    pub people: Vec<Arc<Person>>,
    /// Operations that were begun.
    pub begun: u64,
    /// Operations that were due, and for which nobody was free or too many were under way.
    pub left_out: u64,
}

/// A load that runs until it is told to end.
pub struct Load {
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<Loaded>>,
    guessing: JoinHandle<Result<()>>,
}

/// Lets so many people register and log in.
pub async fn settle(town: &Arc<Town>, count: usize) -> Result<Vec<Arc<Person>>> {
    let (mut running, mut people) = (JoinSet::new(), Vec::new());
    for number in 0..count {
        if running.len() == AT_ONCE {
            people.push(running.join_next().await.context("nobody")??);
        }
        let (town, person) = (Arc::clone(town), Arc::new(town.people.person(number)));
        running.spawn(async move {
            let mut knows = person.knows.lock().await;
            for _ in 0..TRIES {
                if !knows.is_registered {
                    town.register(&person, &mut knows).await?;
                }
                if knows.is_registered && knows.session.is_none() {
                    town.login(&person, &mut knows).await?;
                }
                if knows.session.is_some() {
                    drop(knows);
                    return Ok(person);
                }
                sleep(PAUSE).await;
            }
            anyhow::bail!("{} cannot register and log in", person.email)
        });
    }
    while let Some(person) = running.join_next().await {
        people.push(person?);
    }
    let mut people = people.into_iter().collect::<Result<Vec<_>>>()?;
    people.sort_by_key(|person: &Arc<Person>| person.number);
    Ok(people)
}

impl Load {
    /// Begins with so many operations a second by these people; what they do is told by the seed.
    pub async fn begin(town: &Arc<Town>, people: Vec<Arc<Person>>, rate: u32, seed: u64) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let victim = town.people.person(VICTIM);
        town.register(&victim, &mut *victim.knows.lock().await).await?;
        let guessing = tokio::spawn(guess(Arc::clone(town), victim, stopped.clone()));
        let running = tokio::spawn(run(Arc::clone(town), people, rate, Rng::with_seed(seed), stopped));
        Ok(Self { stop, running, guessing })
    }

    /// Waits for what is under way.
    pub async fn end(self) -> Result<Loaded> {
        self.stop.send_replace(true);
        self.guessing.await??;
        self.running.await?
    }
}

async fn run(
    town: Arc<Town>,
    mut people: Vec<Arc<Person>>,
    rate: u32,
    mut rng: Rng,
    stopped: watch::Receiver<bool>,
) -> Result<Loaded> {
    let (started, mut begun) = (Instant::now(), 0);
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (places, mut running) = (Arc::new(Semaphore::new(IN_FLIGHT)), JoinSet::new());
    while !*stopped.borrow() {
        ticks.tick().await;
        let action = choose(&mut rng);
        let person = if action == Action::Register {
            let person = Arc::new(town.people.person(people.len()));
            people.push(Arc::clone(&person));
            person
        } else {
            let first = rng.usize(..people.len());
            let mut some = (0..LOOKS).map(|step| &people[(first + step) % people.len()]);
            let Some(person) = some.find(|person| person.knows.try_lock().is_ok()) else { continue };
            Arc::clone(person)
        };
        let place = Arc::clone(&places).acquire_owned().await.context("no place")?;
        let town = Arc::clone(&town);
        begun += 1;
        running.spawn(async move {
            let done = one(&town, &person, action).await;
            drop(place);
            done
        });
        while let Some(done) = running.try_join_next() {
            done??;
        }
    }
    let due = u64::try_from(started.elapsed().as_millis() * u128::from(rate) / 1_000)?;
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(Loaded { people, begun, left_out: due.saturating_sub(begun) })
}

fn choose(rng: &mut Rng) -> Action {
    let mut left = rng.u32(..100);
    for (action, share) in MIX {
        if left < share {
            return action;
        }
        left -= share;
    }
    Action::Profile
}

/// One operation. Who is not registered yet, as far as anybody knows, registers.
async fn one(town: &Town, person: &Person, action: Action) -> Result<()> {
    let mut knows = person.knows.lock().await;
    let knows: &mut Knowledge = &mut knows;
    if !knows.is_registered {
        return town.register(person, knows).await;
    }
    match action {
        Action::Login | Action::Guess => town.login(person, knows).await,
        Action::Refresh => town.refresh(person, knows).await,
        Action::Profile | Action::Register | Action::Confirm => town.profile(person, knows).await,
        Action::Reset => town.reset(person, knows).await,
        Action::Change => town.change(person, knows).await,
        Action::Logout => town.logout(person, knows).await,
    }
}

/// Guesses at one account's password from ever other addresses, which the limit must see through.
async fn guess(town: Arc<Town>, victim: Person, mut stopped: watch::Receiver<bool>) -> Result<()> {
    for guess in 0.. {
        if tokio::time::timeout(GUESS_EVERY, stopped.wait_for(|stop| *stop)).await.is_ok() {
            break;
        }
        let body = serde_json::json!({ "email": victim.email, "password": format!("guess {guess}") });
        let asked = Asked { again: false, ..Asked::post("/api/auth/login/", body) };
        let bases = town.bases.read().await.clone();
        let intent = Intent { action: Action::Guess, ..intent(&victim, Action::Guess) };
        let (number, told) = ask(&town.ledger, town.people.client(guess), &bases, intent, &asked).await?;
        // That a guess was refused is what it has come to.
        town.ledger.end(
            number,
            if told.outcome == Outcome::Unknown { Outcome::Unknown } else { Outcome::Refused },
            None,
        )?;
    }
    Ok(())
}
