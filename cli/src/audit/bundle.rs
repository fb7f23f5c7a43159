//! Verifying a bundle with nothing but a public key.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, bail, ensure};
use doorbook_core::audit::bundle::{FORMAT, Header, HexHash, Line};
use doorbook_core::audit::checkpoint::Checkpoint;
use doorbook_core::audit::note::{Note, Verifier};
use doorbook_core::audit::tree::{Frontier, Hash, cover};
use doorbook_core::audit::walk::{Fault, Finding, Mark, Sealed, Source, Walker};

use super::report::Report;
use super::trust::{Trust, Worth};

/// Lines that are read before they are hashed.
const PAGE: usize = 4_000;
/// Longest line. No event comes near it.
const LINE_MAX: u64 = 1 << 22;

pub fn verify(file: &Path, keys: &[Verifier]) -> anyhow::Result<Report> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut lines = BufReader::with_capacity(1 << 20, opened);
    let header: Header = match next(&mut lines)? {
        Some(line) => serde_json::from_str(&line).context("the first line is no header of a bundle")?,
        None => bail!("the file is empty"),
    };
    ensure!(header.format == FORMAT, "the format is {:?}, not {FORMAT:?}", header.format);
    let Some(first) = keys.first() else { bail!("no key is given") };
    let trust = Trust::new(first.name().to_owned(), keys.to_vec());
    let checkpoint = match header.checkpoint.parse::<Note>().map(|note| trust.weigh(&note)) {
        Ok(Worth::Trusted(checkpoint)) => checkpoint,
        Ok(Worth::Unknown(ids)) => bail!("the checkpoint is signed by other keys: {ids}"),
        Ok(Worth::Wrong(about)) => bail!("the checkpoint cannot be believed: {about}"),
        Err(error) => bail!("the checkpoint cannot be read: {error}"),
    };
    let Header { from, to, before, behind, .. } = header;
    ensure!(1 <= from && from <= to && to <= checkpoint.size, "positions {from} to {to} are not under the checkpoint");
    let before = before.into_iter().map(|HexHash(hash)| hash).collect();
    let Some(edge) = Frontier::of(from - 1, before) else {
        bail!("the hashes before position {from} are not all there")
    };
    let mut walker = Walker::new(edge);
    let retired = walk(&mut lines, &trust, &mut walker)?;
    let note = || {
        format!(
            "{retired} events are here by their hashes alone: whoever made the bundle says that retention had dropped them"
        )
    };
    let notes = (retired > 0).then(note).into_iter().collect();
    let reached = walker.position();
    let beyond = |fault, first, last, about| Finding::between(fault, (first, last), (None, None), about);
    match reached.cmp(&to) {
        Ordering::Equal => close(&mut walker, (from, to), &checkpoint, &behind),
        Ordering::Less => {
            let about = "the bundle ends before these positions";
            walker.findings.add(beyond(Fault::Cut, reached + 1, to, about));
        }
        Ordering::Greater => {
            let about = "the bundle goes on behind its last position";
            walker.findings.add(beyond(Fault::Misplaced, to + 1, reached, about));
        }
    }
    let proven = if walker.findings.is_empty() { to } else { 0 };
    Ok(Report { origin: trust.origin, from, to, proven, findings: walker.findings, notes })
}

/// Leads the walk's tree to the root of the checkpoint over all.
fn close(walker: &mut Walker, (from, to): (u64, u64), checkpoint: &Checkpoint, behind: &[HexHash]) {
    let first = walker.agreed_in_log() + 1;
    let Some(mut edge) = walker.end() else { return };
    let nodes = cover(to..checkpoint.size);
    let whole = nodes.len() == behind.len()
        && nodes.iter().zip(behind).all(|(node, hash)| edge.push_subtree(node.height, hash.0).is_some());
    if !(whole && edge.root() == checkpoint.root) {
        let about = "something here, or among the hashes around it, is not what was signed";
        let ends = (None, walker.last_event());
        walker.findings.add(Finding::between(Fault::Diverged, (first.max(from), to), ends, about));
    }
}

/// How many events are there by their hashes alone.
fn walk(lines: &mut BufReader<File>, trust: &Trust, walker: &mut Walker) -> anyhow::Result<u64> {
    let mut retired = 0;
    loop {
        let mut page = Vec::with_capacity(PAGE);
        while page.len() < PAGE
            && let Some(line) = next(lines)?
        {
            page.push(line);
        }
        if page.is_empty() {
            return Ok(retired);
        }
        for line in read_all(&page) {
            match line? {
                Read::Event(sealed) => walker.step(sealed),
                Read::Retired(sealed) => {
                    retired += 1;
                    walker.step(sealed);
                }
                Read::Checkpoint(note) => compare(&note, trust, walker),
            }
        }
    }
}

fn compare(note: &str, trust: &Trust, walker: &mut Walker) {
    let about = match note.parse::<Note>().map(|note| trust.weigh(&note)) {
        Ok(Worth::Trusted(Checkpoint { size, root, .. })) => {
            return walker.compare(&Mark { size, root, source: Source::Log, leaves: &[] });
        }
        // It would have helped to find a place; the checkpoint of the header decides.
        Ok(Worth::Unknown(_)) => return,
        Ok(Worth::Wrong(about)) => about,
        Err(_) => "it is no signed note",
    };
    let about = format!("a checkpoint behind this position: {about}");
    walker.findings.add(Finding::at(Fault::Untrusted, walker.position(), None, about));
}

enum Read {
    Event(Sealed),
    /// Its hash is all that is left.
    Retired(Sealed),
    Checkpoint(String),
}

/// Parses and hashes lines on every core.
fn read_all(page: &[String]) -> Vec<anyhow::Result<Read>> {
    let share = page.len().div_ceil(thread::available_parallelism().map_or(1, NonZeroUsize::get)).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = page
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(|line| read(line)).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    })
}

fn read(line: &str) -> anyhow::Result<Read> {
    let event = match serde_json::from_str(line).context("a line is none of a bundle")? {
        Line::Checkpoint(note) => return Ok(Read::Checkpoint(note)),
        Line::Retired(line) => {
            let hash = line.leaf_hash.0;
            return Ok(Read::Retired(Sealed {
                position: line.position,
                event_id: line.event_id,
                hash,
                found: Some(Ok(hash)),
            }));
        }
        Line::Event(event) => event,
    };
    let (position, event_id, hash): (_, _, Hash) = (event.position, event.event_id, event.leaf_hash());
    Ok(Read::Event(Sealed { position, event_id, hash, found: Some(event.hash()) }))
}

fn next(lines: &mut BufReader<File>) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    let length = lines.by_ref().take(LINE_MAX).read_line(&mut line)?;
    ensure!((length as u64) < LINE_MAX, "a line is longer than {LINE_MAX} bytes");
    Ok((length > 0).then_some(line))
}
