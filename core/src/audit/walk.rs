//! Walks along a log by position and compares what stands there with what was sealed and with what was signed. Who reads a
//! database and who reads a bundle walk alike.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use super::tree::{Frontier, Hash};

/// Findings that are listed; further ones are counted.
const LISTED_MAX: usize = 100;
/// Events without a checkpoint that are remembered one by one. Source: a checkpoint is signed every 1,000.
const PENDING_MAX: usize = 10_000;

/// What is wrong with a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The event's columns are not those that were sealed.
    Changed,
    /// There is a seal, and its event is gone.
    Deleted,
    /// There is no seal at all at this position.
    Missing,
    /// The seal is not the one that was signed: changed, swapped, inserted or left out with what follows moved up.
    Forged,
    /// Between two checkpoints something is not what was signed, and no copy of the signed hashes is left to say what.
    Diverged,
    /// Behind the last position something has been signed that is gone.
    Cut,
    /// An event stands in the table that no position was given to.
    Inserted,
    /// An event stands in its place, and no reader finds it.
    Hidden,
    /// A position stands where another one belongs.
    Misplaced,
    /// A checkpoint is not signed by a known key, is of another log or contradicts itself.
    Untrusted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub fault: Fault,
    /// The place, or the first of several.
    pub position: Option<u64>,
    pub last_position: Option<u64>,
    pub event_id: Option<Uuid>,
    pub last_event_id: Option<Uuid>,
    pub about: String,
}

impl Finding {
    pub fn at(fault: Fault, position: u64, event_id: Option<Uuid>, about: impl Into<String>) -> Self {
        let place = (Some(position), event_id);
        Self {
            fault,
            position: place.0,
            last_position: None,
            event_id: place.1,
            last_event_id: None,
            about: about.into(),
        }
    }

    pub fn between(fault: Fault, positions: (u64, u64), events: (Option<Uuid>, Option<Uuid>), about: &str) -> Self {
        Self {
            last_position: Some(positions.1),
            last_event_id: events.1,
            ..Self::at(fault, positions.0, events.0, about)
        }
    }

    pub fn elsewhere(fault: Fault, event_id: Option<Uuid>, about: impl Into<String>) -> Self {
        Self { position: None, ..Self::at(fault, 0, event_id, about) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.position, self.last_position) {
            (Some(first), Some(last)) if last != first => write!(f, "positions {first} to {last}")?,
            (Some(position), _) => write!(f, "position {position}")?,
            (None, _) => f.write_str("no position")?,
        }
        match (self.event_id, self.last_event_id) {
            (Some(first), Some(last)) if last != first => write!(f, ", events {first} to {last}")?,
            (Some(event), _) => write!(f, ", event {event}")?,
            (None, _) => {}
        }
        write!(f, ": {}", self.about)
    }
}

/// Findings in the order of the walk.
#[derive(Debug, Default)]
pub struct Findings {
    pub listed: Vec<Finding>,
    pub unlisted: u64,
}

impl Findings {
    pub fn add(&mut self, finding: Finding) {
        if self.listed.len() < LISTED_MAX { self.listed.push(finding) } else { self.unlisted += 1 }
    }

    pub const fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

/// One position of the log.
pub struct Sealed {
    pub position: u64,
    pub event_id: Uuid,
    /// The hash that was stamped.
    pub hash: Hash,
    /// The hash of the event as it stands there now; `None` if it is gone.
    pub found: Option<Result<Hash, String>>,
}

/// Where a checkpoint was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Beside the events.
    Log,
    /// Outside, where nobody could change it together with them.
    Outside,
}

/// A root that was signed.
pub struct Mark<'a> {
    pub size: u64,
    pub root: Hash,
    pub source: Source,
    /// The hashes of the events since the mark before, if somebody has kept them. They are believed if they lead to the root.
    pub leaves: &'a [Hash],
}

/// An event that no mark has covered yet.
struct Pending {
    event_id: Option<Uuid>,
    hash: Option<Hash>,
    /// Something was found here already.
    told: bool,
}

/// How far the marks of one source agree.
#[derive(Default)]
struct Agreed {
    size: u64,
    diverged: bool,
}

pub struct Walker {
    /// Over everything before `pending`.
    edge: Frontier,
    pending: Vec<Pending>,
    log: Agreed,
    outside: Agreed,
    /// A leaf is missing, and so is every root behind it.
    broken: bool,
    last_event: Option<Uuid>,
    pub findings: Findings,
}

impl Walker {
    /// Begins behind what `edge` covers.
    pub fn new(edge: Frontier) -> Self {
        let agreed = || Agreed { size: edge.size(), diverged: false };
        let (log, outside) = (agreed(), agreed());
        Self { edge, pending: Vec::new(), log, outside, broken: false, last_event: None, findings: Findings::default() }
    }

    /// The last position that was walked over.
    pub const fn position(&self) -> u64 {
        self.edge.size() + self.pending.len() as u64
    }

    /// The last event that was walked over.
    pub const fn last_event(&self) -> Option<Uuid> {
        self.last_event
    }

    /// Goes on to the next position.
    pub fn step(&mut self, sealed: Sealed) {
        let Sealed { position, event_id, hash, found } = sealed;
        let next = self.position() + 1;
        if position < next {
            let about = format!("position {next} was expected here");
            self.findings.add(Finding::at(Fault::Misplaced, position, Some(event_id), about));
            return;
        }
        if position > next && !self.pass_over(next, position - 1) {
            return;
        }
        let told = !matches!(found, Some(Ok(found)) if found == hash);
        match found {
            None => self.findings.add(Finding::at(Fault::Deleted, position, Some(event_id), "the event is gone")),
            Some(Ok(found)) if found == hash => {}
            Some(Ok(_)) => {
                let about = "the event is not the one that was sealed";
                self.findings.add(Finding::at(Fault::Changed, position, Some(event_id), about));
            }
            Some(Err(error)) => self.findings.add(Finding::at(Fault::Changed, position, Some(event_id), error)),
        }
        self.last_event = Some(event_id);
        self.wait(Pending { event_id: Some(event_id), hash: Some(hash), told });
    }

    /// Positions without a seal. False when there are so many that no walk leads over them.
    fn pass_over(&mut self, first: u64, last: u64) -> bool {
        let about = "nothing stands at this position";
        self.findings.add(Finding::between(Fault::Missing, (first, last), (None, None), about));
        if last - first >= PENDING_MAX as u64 {
            self.broken = true;
            return false;
        }
        for _ in first..=last {
            self.wait(Pending { event_id: None, hash: None, told: true });
        }
        true
    }

    fn wait(&mut self, pending: Pending) {
        self.pending.push(pending);
        if self.pending.len() > PENDING_MAX {
            self.fold();
        }
    }

    /// Takes what is pending for what was signed, for want of anything better.
    fn fold(&mut self) {
        for Pending { hash, .. } in self.pending.drain(..) {
            self.broken |= hash.is_none();
            self.edge.push(hash.unwrap_or_default(), |_, _| ());
        }
    }

    /// Compares with a checkpoint of as many events as were walked over.
    pub fn compare(&mut self, mark: &Mark<'_>) {
        let agreed = match mark.source {
            Source::Log => &self.log,
            Source::Outside => &self.outside,
        };
        if agreed.diverged || mark.size != self.position() {
            return;
        }
        let first = agreed.size + 1;
        if !self.take_signed(mark) {
            let ends = |at: Option<&Pending>| at.and_then(|pending| pending.event_id);
            // The first event is known if no other mark stood between.
            let known = self.edge.size() + 1 == first;
            let events = (ends(self.pending.first()).filter(|_| known), ends(self.pending.last()));
            self.fold();
            if self.broken || self.edge.root() != mark.root {
                let about = "something here is not what was signed";
                // A hole has been told of already.
                if !self.broken {
                    self.findings.add(Finding::between(Fault::Diverged, (first, mark.size), events, about));
                }
                self.agreed(mark.source).diverged = true;
                return;
            }
        }
        self.agreed(mark.source).size = mark.size;
    }

    const fn agreed(&mut self, source: Source) -> &mut Agreed {
        match source {
            Source::Log => &mut self.log,
            Source::Outside => &mut self.outside,
        }
    }

    /// If the kept hashes lead to the root, they are what was signed: each seal is compared with its own.
    fn take_signed(&mut self, mark: &Mark<'_>) -> bool {
        if self.broken || mark.leaves.len() != self.pending.len() {
            return false;
        }
        let mut edge = self.edge.clone();
        mark.leaves.iter().for_each(|leaf| edge.push(*leaf, |_, _| ()));
        if edge.root() != mark.root {
            return false;
        }
        for ((pending, leaf), position) in self.pending.drain(..).zip(mark.leaves).zip(self.edge.size() + 1..) {
            if !pending.told && pending.hash != Some(*leaf) {
                let about = "the event and its seal are not what was signed at this position";
                self.findings.add(Finding::at(Fault::Forged, position, pending.event_id, about));
            }
        }
        self.edge = edge;
        true
    }

    /// How far the log's own checkpoints agree.
    pub const fn agreed_in_log(&self) -> u64 {
        self.log.size
    }

    /// The tree over everything that was walked over; `None` when leaves are missing.
    pub fn end(&mut self) -> Option<Frontier> {
        self.fold();
        (!self.broken).then(|| self.edge.clone())
    }
}

#[cfg(test)]
mod tests;
