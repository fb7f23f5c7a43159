//! One campaign: the service under load, faults by schedule, rest, judges.

use std::ops::Range;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use doorbook_dev::Role;
use doorbook_dev::checks::ROOT;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::check::{Verdict, judge, unseen};
use crate::figures::{Answers, Failures, REFUSED_WITHIN, failures, recovery};
use crate::ledger::{Attempt, Entry, Ledger};
use crate::load::{Load, Loaded, settle};
use crate::nemesis::{Fault, Step, Strike, schedule, strike};
use crate::pace;
use crate::people::{People, Person};
use crate::rig::{Disk, Rig, Setup};
use crate::soak::{Reading, growths};
use crate::visit::Town;

/// Load before the first fault and after the last: as long as its faults are, but no shorter than the one and no longer than the other.
const CALM: Duration = Duration::from_secs(3);
const CALM_MAX: Duration = Duration::from_secs(10);

/// Longest time for a write to work again; a bound that a row sets is judged by its test.
const RECOVERS_WITHIN: Duration = Duration::from_mins(1);

/// After so long everything is as before a fault. Source: bar 6.
pub const RESTED: Duration = Duration::from_secs(5);

/// People at once in the last round.
const AT_ONCE: usize = 6;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a campaign does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of its row.
    pub name: &'static str,
    pub seed: u64,
    /// Whether it is the whole dose, of which nothing may be left out.
    pub is_full: bool,
    pub setup: Setup,
    pub people: usize,
    /// Operations a second.
    pub rate: u32,
    /// Each with the time that it lasts.
    pub faults: Vec<(Fault, Duration)>,
    pub times: usize,
    /// Longest time from the end of the last round, after load and faults, until every mail has its outcome and the log is followed.
    pub drains_within: Duration,
    /// Whether the judges themselves are judged, when they are content: what they were shown is spoilt, and they must find that.
    pub judges_judges: bool,
}

/// What has come of it.
pub struct Report {
    pub strikes: Vec<Strike>,
    pub verdicts: Vec<Verdict>,
    pub entries: Vec<Entry>,
    /// From the beginning of the load to its end.
    pub loaded: Range<Duration>,
    /// From the end of the last round until every mail had its outcome and the log was followed, seen five times 100 ms apart: half a second
    /// at least. Most mails go out before it begins.
    pub drained: Duration,
    /// Operations of the load that were begun, and that were due and left out.
    pub begun: u64,
    pub left_out: u64,
    /// 99 of 100 events were sealed within this many milliseconds.
    pub sealed: f64,
    pub readings: Vec<Reading>,
    pub paces: Vec<Reading>,
    /// What was spoilt afterwards and no judge found; `None`: nothing was.
    pub unseen: Option<Vec<String>>,
}

/// Runs a campaign to its end. What was printed and written down stays below `target/faults`.
pub async fn run(plan: &Plan) -> Result<Report> {
    println!("seed {}", plan.seed);
    let plan = &possible(plan).await?;
    let mut rig = Rig::start(plan.setup).await?;
    let report = on(plan, &mut rig).await;
    // One for each run: what was wrong once must not disappear under what went well.
    let folder = Path::new(ROOT).join("target/faults").join(format!("{}-{}-{}", plan.name, plan.seed, process::id()));
    match rig.keep(&folder) {
        Ok(()) => println!("logs and ledger: {}", folder.display()),
        Err(error) => println!("logs and ledger are lost: {error:#}"),
    }
    report
}

/// The same without the faults that this machine does not allow, each with a line that says so. The whole dose is held with all of them or
/// not at all: what it left out would seem to have been survived.
async fn possible(plan: &Plan) -> Result<Plan> {
    let mut plan = plan.clone();
    if plan.setup.small_disk
        && let Err(error) = Disk::mount()
    {
        leave_out(&plan, "DiskFull", error)?;
        plan.setup.small_disk = false;
        plan.faults.retain(|(fault, _)| *fault != Fault::DiskFull);
    }
    let is_clock = |fault: &Fault| matches!(fault, Fault::Clock(..));
    if plan.faults.iter().any(|(fault, _)| is_clock(fault))
        && let Err(error) = tokio::task::spawn_blocking(doorbook_dev::faketime).await?
    {
        leave_out(&plan, "Clock", error)?;
        plan.faults.retain(|(fault, _)| !is_clock(fault));
    }
    ensure!(!plan.faults.is_empty(), "none of these faults is possible here");
    Ok(plan)
}

fn leave_out(plan: &Plan, fault: &str, error: Error) -> Result<()> {
    if plan.is_full {
        return Err(error.context(format!("the whole dose has {fault}, which is impossible here")));
    }
    println!("figure: skipped, {fault}: {error:#}");
    Ok(())
}

async fn on(plan: &Plan, rig: &mut Rig) -> Result<Report> {
    let steps = schedule(plan.seed, &plan.faults, plan.times);
    let ledger = Ledger::open(&rig.cluster.run().folder().join("ledger.jsonl"))?;
    let bases = RwLock::new(rig.bases());
    let town = Arc::new(Town { ledger, people: People::new()?, sink: Arc::clone(&rig.sink), bases });
    let people = settle(&town, plan.people).await?;
    println!("{} people are there after {:.0} s", people.len(), town.ledger.now().as_secs_f64());
    let load = Load::begin(&town, people, plan.rate, plan.seed).await?;
    let from = town.ledger.now();
    // A long fault is compared with more than a moment.
    let longest = plan.faults.iter().map(|(_, lasts)| *lasts).max().unwrap_or_default();
    let calm = CALM.max(longest.min(CALM_MAX));
    sleep(calm).await;
    let mut strikes = Vec::new();
    for step in &steps {
        strikes.push(one(rig, &town, step).await?);
    }
    sleep(calm).await;
    let loaded = from..town.ledger.now();
    let Loaded { people, begun, left_out } = load.end().await?;
    rig.settled(RECOVERS_WITHIN).await?;
    last_round(&town, people).await?;
    ensure!(!rig.sink.is_full(), "the sink of mails is full, and what it refused is no fault of the service");
    let drained = drain(rig, plan.drains_within).await?;
    let verdicts = judge(rig, &town, &strikes, loaded.start).await?;
    let (entries, sealed) = (town.ledger.entries(), seal_lag(rig).await?);
    let (readings, paces) = (std::mem::take(&mut rig.readings), std::mem::take(&mut rig.paces));
    let is_content = verdicts.iter().all(|verdict| verdict.findings.is_empty());
    let unseen =
        if plan.judges_judges && is_content { Some(unseen(rig, &town, &strikes, loaded.start).await?) } else { None };
    Ok(Report { strikes, verdicts, entries, loaded, drained, begun, left_out, sealed, readings, paces, unseen })
}

/// One fault, until a write works again.
async fn one(rig: &mut Rig, town: &Town, step: &Step) -> Result<Strike> {
    sleep(step.pause).await;
    let began = town.ledger.now();
    println!("{:8.2} s  {} for {:.1} s", began.as_secs_f64(), step.fault, step.lasts.as_secs_f64());
    let took = strike(rig, step.fault, step.lasts).await.with_context(|| step.fault.to_string())?;
    let healed = town.ledger.now();
    while !town.ledger.has_written_since(healed) {
        if town.ledger.now() > healed + RECOVERS_WITHIN {
            bail!("nothing works again after {}", step.fault);
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(Strike { fault: step.fault, began, healed, took })
}

/// Everybody shows the tokens they hold, and logs in with the password they hold.
async fn last_round(town: &Arc<Town>, people: Vec<Arc<Person>>) -> Result<()> {
    let mut running = JoinSet::new();
    for person in people {
        if running.len() == AT_ONCE {
            running.join_next().await.context("nobody")???;
        }
        let town = Arc::clone(town);
        running.spawn(async move {
            let mut knows = person.knows.lock().await;
            if !knows.is_registered {
                return town.register(&person, &mut knows).await;
            }
            if knows.session.is_some() {
                town.refresh(&person, &mut knows).await?;
            }
            if knows.passwords > 0 { town.login(&person, &mut knows).await } else { Ok(()) }
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Waits until every mail has its outcome, every job that is due has run, and all that follows the log has come to its end.
async fn drain(rig: &Rig, within: Duration) -> Result<Duration> {
    const LEFT: &str = "select (select count(*) from deliveries where state in ('queued', 'deferred'))
        + (select count(*) from jobs where state in ('due', 'dispatched', 'running') and run_at <= clock_timestamp())
        + (select count(*) from events) - (select count(*) from event_seals)
        + (select count(*) from followers where position < (select max(position) from event_seals))";
    let owner = rig.database.pool(Role::Migrator).await?;
    let (started, mut calm) = (Instant::now(), 0);
    let checkpoints = async || sqlx::query_scalar::<_, i64>("select count(*) from checkpoints").fetch_one(&owner).await;
    // The last mail is followed by its events.
    while calm < 5 {
        let left: i64 = sqlx::query_scalar(LEFT).fetch_one(&owner).await.context("cannot ask what is left")?;
        calm = if left == 0 { calm + 1 } else { 0 };
        if started.elapsed() > within {
            bail!("{left} mails, jobs, seals and followers are behind after {within:?}");
        }
        sleep(LOOK_EVERY * 5).await;
    }
    let drained = started.elapsed();
    // A young log has none for the first minute, and then there is nothing to verify.
    while checkpoints().await? == 0 {
        ensure!(started.elapsed() < within, "no checkpoint is signed");
        sleep(LOOK_EVERY * 5).await;
    }
    Ok(drained)
}

/// Milliseconds within which 99 of 100 events were sealed.
async fn seal_lag(rig: &Rig) -> Result<f64> {
    const LAG: &str = "select coalesce(percentile_cont(0.99) within group
        (order by extract(epoch from s.sealed_at - e.recorded_at)::float8 * 1000), 0)
        from events e join event_seals s on s.event_id = e.event_id";
    let owner = rig.database.pool(Role::Migrator).await?;
    sqlx::query_scalar(LAG).fetch_one(&owner).await.context("cannot ask how soon events were sealed")
}

impl Report {
    /// Answers to requests that were under way while faults lasted of which this holds. Not of those that an earlier fault had met, nor of
    /// those that met a later one before their answer was due.
    pub fn during(&self, is_meant: impl Fn(Fault) -> bool) -> Answers {
        let (meant, others): (Vec<&Strike>, Vec<&Strike>) =
            self.strikes.iter().partition(|strike| is_meant(strike.fault));
        let met = |attempt: &Attempt, strike: &Strike| attempt.was_under_way(strike.began, strike.healed);
        let spoilt = |attempt: &Attempt| {
            let due = attempt.begun + REFUSED_WITHIN;
            others.iter().any(|other| other.began < due && met(attempt, other))
        };
        Answers::of(&self.entries, |attempt| meant.iter().any(|strike| met(attempt, strike)) && !spoilt(attempt))
    }

    /// Answers to requests that met no fault: before the first, between them and after the last, so that what else the machine does is in
    /// these as in the others.
    pub fn calm(&self) -> Answers {
        let Range { start, end } = self.loaded;
        let is_met =
            |attempt: &Attempt| self.strikes.iter().any(|strike| attempt.was_under_way(strike.began, strike.healed));
        Answers::of(&self.entries, |attempt| attempt.begun >= start && attempt.ended() <= end && !is_met(attempt))
    }

    /// Answers to requests that were sent and answered before the first fault.
    pub fn before(&self) -> Answers {
        let first = self.strikes.first().map_or(self.loaded.end, |strike| strike.began);
        Answers::of(&self.entries, |attempt| attempt.begun >= self.loaded.start && attempt.ended() <= first)
    }

    /// Answers to requests that were sent when a fault had been over for [`RESTED`], and answered before the next.
    pub fn rested(&self) -> Answers {
        let next = |healed| self.strikes.iter().map(|strike| strike.began).filter(|began| *began >= healed).min();
        let spans: Vec<_> = self
            .strikes
            .iter()
            .map(|strike| strike.healed + RESTED..next(strike.healed).unwrap_or(self.loaded.end))
            .collect();
        Answers::of(&self.entries, |attempt| {
            spans.iter().any(|span| attempt.begun >= span.start && attempt.ended() <= span.end)
        })
    }

    /// Longest time until a write worked again.
    pub fn recovery(&self) -> Duration {
        let each = self.strikes.iter().map(|strike| recovery(&self.entries, strike).unwrap_or(Duration::MAX));
        each.max().unwrap_or_default()
    }

    /// Longest time that a process took to be ready, or to end.
    pub fn took(&self) -> Duration {
        self.strikes.iter().filter_map(|strike| strike.took).max().unwrap_or_default()
    }

    /// Requests without a good answer, by whether a fault explains it.
    pub fn failures(&self) -> Failures {
        failures(&self.entries, &self.strikes)
    }

    /// Answers 500 in the whole campaign.
    pub fn internal(&self) -> usize {
        Answers::between(&self.entries, Duration::ZERO, Duration::MAX).internal
    }

    /// Everything, line by line.
    pub fn lines(&self) -> Vec<String> {
        let rested = format!("{} s after a fault: {}", RESTED.as_secs(), self.rested());
        let mut lines = vec![format!("before: {}", self.before()), format!("no fault: {}", self.calm()), rested];
        let mut kinds: Vec<String> = Vec::new();
        for strike in &self.strikes {
            let kind = kind(strike.fault);
            if kinds.contains(&kind) {
                continue;
            }
            let same: Vec<_> = self.strikes.iter().filter(|other| self::kind(other.fault) == kind).collect();
            let worst = same.iter().filter_map(|strike| recovery(&self.entries, strike)).max().unwrap_or_default();
            let answers = self.during(|fault| self::kind(fault) == kind);
            let took = same.iter().filter_map(|strike| strike.took).max();
            let took = took.map(|took| format!(", a process took {} ms at most", took.as_millis())).unwrap_or_default();
            let (times, worst) = (same.len(), worst.as_millis());
            lines.push(format!("{kind}, {times} times: {answers}; a write again after {worst} ms{took}"));
            kinds.push(kind);
        }
        let Self { begun, left_out, sealed, .. } = self;
        lines.push(format!("{begun} operations begun, {left_out} that were due left out"));
        let drained = self.drained.as_millis();
        lines.push(format!("at rest {drained} ms after the last round; 99 of 100 events sealed within {sealed:.0} ms"));
        lines.extend(growths(&self.readings).iter().map(ToString::to_string));
        lines.extend(pace::by_quarters(&self.paces));
        lines.extend(self.verdicts.iter().map(ToString::to_string));
        if self.unseen.as_ref().is_some_and(Vec::is_empty) {
            lines.push(
                "then the database was spoilt in each way that the judges ask about, and they found each".to_owned(),
            );
        }
        lines
    }

    /// Prints everything as figures.
    pub fn print(&self) {
        for line in self.lines() {
            println!("figure: {line}");
        }
    }

    /// What no campaign may come to.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> =
            self.verdicts.iter().filter(|verdict| !verdict.findings.is_empty()).map(ToString::to_string).collect();
        faults.extend(self.unseen.iter().flatten().cloned());
        let internal = self.internal();
        if internal > 0 {
            faults.push(format!("{internal} requests were answered 500"));
        }
        faults
    }
}

/// A fault without the number of the process that it hit.
fn kind(fault: Fault) -> String {
    fault.to_string().replace("(0)", "").replace("(1)", "")
}
