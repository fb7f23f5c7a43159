//! Writing a part of the log to a file that proves itself.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use doorbook_core::audit::bundle::{EventLine, FORMAT, Header, HexHash, Line, RetiredLine};
use doorbook_core::audit::retired::Retired;
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::store::audit::{self, Place};
use doorbook_core::store::{Db, checkpoints, retention, tree};
use doorbook_core::token::random;
use uuid::Uuid;

use super::Export;
use crate::{Outcome, settings};

/// Positions of one page.
const PAGE: i64 = 2_000;
/// Checkpoints of one page.
const MARKS: i64 = 20;

pub async fn run(options: &Export, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let doorbook = settings::doorbook().await?;
    let signed = u64::try_from(checkpoints::head(&doorbook.db).await?.size)?;
    let (from, to) = (options.from, options.to.unwrap_or(signed));
    ensure!(from <= to, "there is nothing between positions {from} and {to}");
    ensure!(to <= signed, "position {to} is under no checkpoint yet: the last one is of {signed} events");
    write_bundle(&doorbook, from, to, &options.file).await?;
    writeln!(out, "positions {from} to {to} written to {}", options.file.display())?;
    Ok(Outcome::Done)
}

/// Writes these positions to a file that must not be there yet. That it is done stands in the log before.
pub async fn write_bundle(doorbook: &Doorbook, from: u64, to: u64, path: &Path) -> anyhow::Result<()> {
    let mut file = OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot create {}", path.display()))?;
    let mut file = BufWriter::new(file);
    doorbook.note_bundle(&Context::operator(Uuid::from_bytes(random()))).await?;
    write(&doorbook.db, from, to, &mut file).await?;
    file.flush()?;
    Ok(file.get_ref().sync_all()?)
}

async fn write(db: &Db, from: u64, to: u64, file: &mut impl Write) -> anyhow::Result<()> {
    let (before, last) = (i64::try_from(from - 1)?, i64::try_from(to)?);
    let Some(over) = checkpoints::after(db, last - 1, 1).await?.pop() else {
        bail!("position {to} is under no checkpoint")
    };
    let size = u64::try_from(over.size)?;
    let hexed = |hashes: Vec<[u8; 32]>| hashes.into_iter().map(HexHash).collect();
    let header = Header {
        format: FORMAT.to_owned(),
        origin: checkpoints::origin(db).await?,
        from,
        to,
        checkpoint: over.note,
        before: hexed(tree::covering(db, 0..from - 1).await?),
        behind: hexed(tree::covering(db, to..size).await?),
    };
    line(file, &header)?;
    let retired = retention::retired(db).await?.months;
    let (mut at, mut marks) = (before, Vec::new().into_iter().peekable());
    let mut read = before;
    loop {
        let places = audit::places(db, at, last, PAGE).await?;
        if places.is_empty() {
            ensure!(at == last, "position {} is gone: run `doorbook audit verify`", at + 1);
            return Ok(());
        }
        for place in places {
            ensure!(place.position == at + 1, "position {} is gone: run `doorbook audit verify`", at + 1);
            at = place.position;
            line(file, &event(place, &retired)?)?;
            if marks.peek().is_none() && read < last {
                let page = checkpoints::after(db, read, MARKS).await?;
                read = page.last().map_or(last, |mark| mark.size);
                marks = page.into_iter().map(|mark| (mark.size, mark.note)).collect::<Vec<_>>().into_iter().peekable();
            }
            if let Some((_, note)) = marks.next_if(|(size, _)| *size == at && at < last) {
                line(file, &Line::Checkpoint(note))?;
            }
        }
    }
}

fn event(place: Place, retired: &[Retired]) -> anyhow::Result<Line> {
    if place.is_dropped(retired) {
        let (position, event_id) = (u64::try_from(place.position)?, place.event_id);
        return Ok(Line::Retired(RetiredLine { position, event_id, leaf_hash: HexHash(place.leaf_hash) }));
    }
    let Some(leaf) = place.leaf else {
        bail!("event {} at position {} is gone: run `doorbook audit verify`", place.event_id, place.position);
    };
    Ok(Line::Event(Box::new(EventLine::new(leaf, place.leaf_hash))))
}

fn line(file: &mut impl Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *file, value)?;
    Ok(file.write_all(b"\n")?)
}
