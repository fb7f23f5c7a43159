//! The event log, read by position. Personal data stays sealed here.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;
use doorbook_core::store::follow;
use doorbook_core::store::log::{self, SealedEvent, StoredEvent};
use doorbook_core::value::EventId;
use uuid::Uuid;

use crate::{Outcome, settings};

/// Events of one read.
const PAGE: i64 = 500;
/// Pause between two looks for new events: the sealer needs about as long.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub enum Command {
    /// Print the last sealed events, oldest first
    Tail {
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
        last: i64,
        /// Go on with new ones until interrupted
        #[arg(long)]
        follow: bool,
    },
    /// Print one event
    Show { id: Uuid },
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match command {
        Command::Tail { last, follow } => tail(last, follow, out).await,
        Command::Show { id } => show(EventId(id), out).await,
    }
}

async fn tail(last: i64, follow: bool, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let pool = settings::pool(&settings::load()?).await?;
    let mut after = log::last_position(&pool).await?.saturating_sub(last).max(0);
    loop {
        // No connection is held during the pause.
        let events = follow::read_on(&pool, after, PAGE).await?;
        for event in &events {
            after = event.position;
            line(event, out)?;
        }
        if !events.is_empty() {
            out.flush()?;
        } else if follow {
            tokio::time::sleep(PAUSE).await;
        } else {
            return Ok(Outcome::Done);
        }
    }
}

/// The payload is JSON: what it quotes cannot reach the terminal as control characters.
fn line(event: &SealedEvent, out: &mut impl Write) -> std::io::Result<()> {
    let subject = event.subject_id.map_or_else(|| "-".to_owned(), |subject| subject.to_string());
    writeln!(
        out,
        "{:>10}  {:<27}  {}  {subject:<36}  {} {} {}",
        event.position,
        event.recorded_at.rfc3339(),
        event.event_id,
        event.kind,
        event.name,
        event.payload
    )
}

async fn show(id: EventId, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let pool = settings::pool(&settings::load()?).await?;
    let Some(event) = log::by_id(&pool, id).await? else {
        anyhow::bail!("there is no event {id}");
    };
    fields(&event, out)?;
    Ok(Outcome::Done)
}

fn fields(event: &StoredEvent, out: &mut impl Write) -> anyhow::Result<()> {
    let id = |id: Option<Uuid>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let actor = event.actor_id.map_or_else(String::new, |id| format!(" {id}"));
    let personal = event.pii_key_id.map_or_else(|| "-".to_owned(), |key| format!("sealed by key {key}"));
    let rows = [
        ("event", event.event_id.to_string()),
        ("name", event.name.clone()),
        ("stream", format!("{} {}, version {}", event.kind, event.stream_id, event.version)),
        ("recorded", event.recorded_at.rfc3339()),
        ("subject", id(event.subject_id)),
        ("actor", format!("{}{actor}", event.actor_kind)),
        ("session", id(event.session_id)),
        ("personal", personal),
        ("payload", serde_json::to_string_pretty(&event.payload)?),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<9} {value}")?;
    }
    Ok(())
}
