//! Verifying the log in its database.

use std::collections::VecDeque;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use anyhow::Context as _;
use doorbook_core::audit::checkpoint::{Checkpoint, collect};
use doorbook_core::audit::note::Note;
use doorbook_core::audit::tree::{Frontier, Hash};
use doorbook_core::audit::walk::{Fault, Finding, Mark, Sealed, Source, Walker};
use doorbook_core::store::audit::{self, Place};
use doorbook_core::store::checkpoints::{self, StoredCheckpoint};
use doorbook_core::store::{Db, Pooler, retention};

use super::Verify;
use super::gone::Gone;
use super::report::Report;
use super::trust::{Trust, Worth};
use crate::settings;

/// Positions of one page. Some ten megabytes.
const PAGE: i64 = 4_000;
/// Checkpoints of one page: each holds up to 32 kB of hashes.
const MARKS: i64 = 20;
/// One that reads while the other waits.
const CONNECTIONS: u32 = 2;

pub async fn verify(options: &Verify) -> anyhow::Result<Report> {
    let (db, trust) = open(options).await?;
    let head = checkpoints::head(&db).await?;
    let (signed, until) = (number(head.size), number(head.sealed));
    let mut walker = Walker::new(Frontier::default());
    if head.origin != trust.origin {
        let about = format!("the key is of the log {}, the database holds {}", trust.origin, head.origin);
        walker.findings.add(Finding::elsewhere(Fault::Untrusted, None, about));
    }
    let mut marks = Marks::new(&db, &trust);
    for file in &options.checkpoints {
        marks.read(file, &mut walker)?;
    }
    marks.outside.make_contiguous().sort_by_key(|checkpoint| checkpoint.size);
    let last = marks.outside.back().map_or(0, |checkpoint| checkpoint.size);
    let told = retention::retired(&db).await?;
    for event in told.unreadable {
        let about = "it says that a month was dropped, in words that nobody writes by the rules: it excuses nothing";
        walker.findings.add(Finding::elsewhere(Fault::Inserted, Some(event), about));
    }
    let mut gone = Gone::new(told.months);
    let mut places = audit::places(&db, 0, head.sealed, PAGE).await?;
    while let Some(after) = places.last().map(|place| place.position) {
        let is_gone: Vec<bool> = places.iter().map(|place| gone.count(place)).collect();
        let hashing = tokio::task::spawn_blocking(move || hash_all(&places, &is_gone));
        let (hashed, next) = tokio::join!(hashing, audit::places(&db, after, head.sealed, PAGE));
        for sealed in hashed? {
            walker.step(sealed);
            marks.pass(&mut walker).await?;
        }
        places = next?;
    }
    gone.end(&mut walker, &mut marks.notes);
    for event in audit::strays(&db).await? {
        let about = "no position was given to this event: it was put in beside the order, or nothing is sealed";
        walker.findings.add(Finding::elsewhere(Fault::Inserted, Some(event), about));
    }
    for event in audit::hidden(&db).await? {
        let about = "the row of its stream is gone: no search and no page shows this event";
        walker.findings.add(Finding::elsewhere(Fault::Hidden, Some(event), about));
    }
    for (size, whose) in [(signed, "the database's own checkpoints"), (last, "a checkpoint kept outside")] {
        if size > until {
            let about = format!("gone: {whose} covered them, and the log ends at position {until}");
            walker.findings.add(Finding::between(Fault::Cut, (until + 1, size), (None, None), &about));
        }
    }
    let proven = marks.end(&mut walker, until);
    let notes = marks.notes;
    Ok(Report { origin: trust.origin, from: 1, to: until, proven, findings: walker.findings, notes })
}

async fn open(options: &Verify) -> anyhow::Result<(Db, Trust)> {
    let given = match &options.database {
        Some(url) => Some(Db::open(url, CONNECTIONS, Pooler::None).await.context("--database cannot be used")?),
        None => None,
    };
    if let Some(first) = options.keys.first() {
        let trust = Trust::new(first.name().to_owned(), options.keys.clone());
        return Ok(match given {
            Some(db) => (db, trust),
            None => (settings::pool(&settings::load()?).await?, trust),
        });
    }
    let settings = settings::load()?;
    let db = match given {
        Some(db) => db,
        None => settings::pool(&settings).await?,
    };
    let trust = Trust::of_settings(&settings, &db).await?;
    Ok((db, trust))
}

fn number(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The leaf hash of each event as it stands there now, on every core.
fn hash_all(places: &[Place], is_gone: &[bool]) -> Vec<Sealed> {
    let share = places.len().div_ceil(thread::available_parallelism().map_or(1, NonZeroUsize::get)).max(1);
    let hash = |(place, is_gone): (&Place, &bool)| Sealed {
        position: number(place.position),
        event_id: place.event_id,
        hash: place.leaf_hash,
        // Of an event that was dropped, its hash alone is left; the signed roots say whether it is the right one.
        found: if *is_gone {
            Some(Ok(place.leaf_hash))
        } else {
            place.leaf.as_ref().map(|leaf| leaf.exact_hash().map_err(|error| error.to_string()))
        },
    };
    thread::scope(|scope| {
        let parts: Vec<_> = places
            .chunks(share)
            .zip(is_gone.chunks(share))
            .map(|(part, gone)| scope.spawn(move || part.iter().zip(gone).map(hash).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    })
}

/// Checkpoints by size, read as the walk comes to them.
struct Marks<'a> {
    db: &'a Db,
    trust: &'a Trust,
    stored: VecDeque<StoredCheckpoint>,
    /// The last one that was read, `None` behind the last of all.
    read: Option<i64>,
    outside: VecDeque<Checkpoint>,
    trusted: u64,
    unknown: Option<(u64, String)>,
    unknown_count: u64,
    notes: Vec<String>,
}

impl<'a> Marks<'a> {
    const fn new(db: &'a Db, trust: &'a Trust) -> Self {
        Self {
            db,
            trust,
            stored: VecDeque::new(),
            read: Some(0),
            outside: VecDeque::new(),
            trusted: 0,
            unknown: None,
            unknown_count: 0,
            notes: Vec::new(),
        }
    }

    /// Reads a file of checkpoints. What no known key has signed proves nothing.
    fn read(&mut self, file: &Path, walker: &mut Walker) -> anyhow::Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let collected = collect(&text);
        anyhow::ensure!(!collected.notes.is_empty(), "{} holds no checkpoint", file.display());
        if collected.unreadable > 0 {
            self.notes.push(format!("{}: {} pieces are no checkpoint", file.display(), collected.unreadable));
        }
        for note in &collected.notes {
            let about = match self.trust.weigh(note) {
                Worth::Trusted(checkpoint) => {
                    self.outside.push_back(checkpoint);
                    continue;
                }
                Worth::Unknown(ids) => format!("signed by unknown keys: {ids}"),
                Worth::Wrong(about) => about.to_owned(),
            };
            let about = format!("a checkpoint in {}: {about}", file.display());
            walker.findings.add(Finding::elsewhere(Fault::Untrusted, None, about));
        }
        Ok(())
    }

    /// Compares the walk with the checkpoints that end where it stands.
    async fn pass(&mut self, walker: &mut Walker) -> anyhow::Result<()> {
        loop {
            if let (Some(read), true) = (self.read, self.stored.is_empty()) {
                self.stored = checkpoints::after(self.db, read, MARKS).await?.into();
                self.read = self.stored.back().map(|last| last.size);
            }
            match self.stored.front() {
                Some(stored) if number(stored.size) <= walker.position() => {
                    if let Some(stored) = self.stored.pop_front() {
                        self.compare(&stored, walker);
                    }
                }
                _ => break,
            }
        }
        while self.outside.front().is_some_and(|checkpoint| checkpoint.size <= walker.position()) {
            if let Some(Checkpoint { size, root, .. }) = self.outside.pop_front() {
                walker.compare(&Mark { size, root, source: Source::Outside, leaves: &[] });
            }
        }
        Ok(())
    }

    fn compare(&mut self, stored: &StoredCheckpoint, walker: &mut Walker) {
        let size = number(stored.size);
        let mut wrong = |about: &str| {
            walker.findings.add(Finding::at(
                Fault::Untrusted,
                size,
                None,
                format!("the checkpoint of this size: {about}"),
            ));
        };
        let Ok(note) = stored.note.parse::<Note>() else { return wrong("it is no signed note") };
        let root = Hash::try_from(stored.root.as_slice()).unwrap_or_default();
        match self.trust.weigh(&note) {
            Worth::Wrong(about) => return wrong(about),
            Worth::Unknown(ids) => {
                self.unknown_count += 1;
                self.unknown = Some((size, ids));
            }
            Worth::Trusted(checkpoint) if checkpoint.size != size || checkpoint.root != root => {
                return wrong("its row says something else than what was signed");
            }
            Worth::Trusted(_) => self.trusted = size,
        }
        let (leaves, rest) = stored.leaf_hashes.as_chunks::<32>();
        let leaves = if rest.is_empty() { leaves } else { &[] };
        walker.compare(&Mark { size, root, source: Source::Log, leaves });
    }

    /// What is left to say about the keys; how far the log is under a trusted checkpoint.
    fn end(&mut self, walker: &mut Walker, until: u64) -> u64 {
        if let Some((size, ids)) = self.unknown.take() {
            if size > self.trusted {
                let about = format!("a checkpoint of this size is signed by unknown keys: {ids}");
                walker.findings.add(Finding::at(Fault::Untrusted, size, None, about));
            } else {
                let (count, ids) = (self.unknown_count, &ids);
                let note = format!("{count} earlier checkpoints are signed by other keys, such as {ids}");
                self.notes.push(format!("{note}; a later one covers what they cover"));
            }
        } else if self.trusted == 0 && until > 0 {
            walker.findings.add(Finding::elsewhere(Fault::Untrusted, None, "no checkpoint covers any of the log"));
        }
        self.trusted
    }
}
