//! What failed logins leave in the log. Those at addresses without an account are bounded: what a minute has no room for is counted, and
//! told by one event a network once the minute is over (`docs/adr/0022`).

use std::time::Duration;

use super::append::Batch;
use super::limits::identifier_bucket;
use super::{Context, Doorbook, Refusal};
use crate::attempt::AttemptEvent;
use crate::attempt::rollup::{ROWS_A_MINUTE, RollUp, Tally, Telling, roll_up, telling};
use crate::clock::Timestamp;
use crate::event::{Event, Personal};
use crate::store::StoreError;
use crate::store::keys::identifiers::{Bucket, Identifiers};
use crate::store::log::StreamKind;
use crate::store::project::attempts::NewTally;
use crate::store::query::accounts::Loaded;
use crate::store::query::attempts::{self, TallyRow};
use crate::terms::network;
use crate::value::{Email, EventId, StreamId};

/// Identifiers of one statement: 1,600 guesses a second, more than most machines hash. Reading and telling them takes 0.7 s. A minute that
/// has more is rolled up in several, by ranges of networks, with a hundred and one events each. So is one whose statement was not
/// answered in time: it is tried again with fewer, or what was counted would never be told.
const BATCHES: [i64; 3] = [100_000, 20_000, 4_000];
/// Roll-ups of so long stand in one stream.
const STREAM: Duration = Duration::from_hours(1);

/// A guess that was wrong.
pub(super) struct Failed<'a> {
    pub email: &'a Email,
    /// What it was counted in.
    pub bucket: &'a Bucket,
    pub owner: Option<&'a Loaded>,
}

impl Doorbook {
    /// Adds what a failed login tells to its statement: its events, or one more to the count of its minute and network. Returns the id of
    /// the last event, or the one that it would have had.
    pub(super) async fn tell_failure(
        &self,
        batch: &mut Batch<'_>,
        failed: &Failed<'_>,
        events: Vec<AttemptEvent>,
        keys: &Identifiers,
        context: &Context,
    ) -> Result<EventId, Refusal> {
        // Read anew for each try: a minute that was full is not tried twice.
        let minute = attempts::minute(&self.db).await?;
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        match telling(u32::try_from(minute.recorded).unwrap_or(u32::MAX), count, failed.owner.is_some()) {
            Telling::Singly { takes } => {
                if let Some(rows) = takes {
                    batch.write.spend_minute(minute.start, rows, ROWS_A_MINUTE);
                }
                let account = failed.owner.map(|owner| (owner.id, owner.data_key.as_ref()));
                let window = self.policy.login.window;
                let ids = self.attempts(batch, failed.bucket, window, account, events).await?;
                Ok(ids.last().copied().unwrap_or_else(|| batch.next_id()))
            }
            Telling::RolledUp => {
                let stranger = self.vault.stranger_key(&self.db, batch.now).await?;
                let from = network(context.origin.address).to_string();
                let member = keys.name(&identifier_bucket("login", failed.email));
                let blocks = events.iter().filter(|event| matches!(event, AttemptEvent::LoginBlocked { .. })).count();
                batch.write.tally(NewTally {
                    minute: minute.start,
                    network: keys.name(&Bucket::new("login_rollup", &[from.as_bytes()])),
                    member,
                    blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
                    origin: stranger.key.seal(&member, from.as_bytes()),
                    pii_key_id: stranger.id,
                });
                Ok(batch.next_id())
            }
        }
    }

    /// Rolls up the oldest minute that is over; how many events tell of it, 0 when there is none. What was counted goes in the statement
    /// that tells of it: whoever dies, or is at work beside, tells nothing twice and loses nothing.
    pub async fn roll_up_attempts(&self, context: &Context) -> Result<usize, Refusal> {
        let mut outcome = Ok(0);
        for most in BATCHES {
            outcome = self.roll_up_some(most, context).await;
            let is_too_slow = |error: &Refusal| matches!(error, Refusal::Unavailable(StoreError::Unavailable(_)));
            if !outcome.as_ref().is_err_and(is_too_slow) {
                break;
            }
        }
        outcome
    }

    async fn roll_up_some(&self, most: i64, context: &Context) -> Result<usize, Refusal> {
        let rows = attempts::oldest(&self.db, most).await?;
        let Some(minute) = rows.first().map(|row| row.minute) else { return Ok(0) };
        let told = roll_up(&rows.iter().map(tally).collect::<Vec<_>>());
        let mut batch = Batch::new(context, self.now());
        let stream = self.attempts_stream(&Bucket::new("login_rollup", &[]), STREAM, minute);
        batch.write.append_stream(stream, StreamKind::Attempts, i64::try_from(told.len()).unwrap_or(i64::MAX));
        self.tell_roll_ups(&mut batch, stream, minute, &told, &rows).await?;
        batch.write.take_tallies(&rows);
        crate::failpoint!("attempts.rolling_up");
        batch.commit(self).await?;
        Ok(told.len())
    }

    async fn tell_roll_ups(
        &self,
        batch: &mut Batch<'_>,
        stream: StreamId,
        minute: Timestamp,
        told: &[RollUp<&[u8]>],
        rows: &[TallyRow],
    ) -> Result<(), Refusal> {
        // A key that is gone has taken with it where they came from, and nothing else.
        let keys = self.vault.keys_of(&self.db, rows.iter().map(|row| row.pii_key_id)).await?;
        for (roll_up, version) in told.iter().zip(1..) {
            let id = batch.event(stream, version, None, None, Event::Attempt(roll_up.event(minute)), None)?;
            let row = roll_up.network.and_then(|network| rows.iter().find(|row| row.network == network));
            let Some((row, key)) = row.and_then(|row| Some((row, keys.get(&row.pii_key_id)?))) else { continue };
            let from = key.key.open(&row.member, &row.origin)?;
            let address = Some(String::from_utf8_lossy(&from).into_owned());
            batch.seal_last(id, &Personal { address, ..Personal::default() }, key)?;
        }
        Ok(())
    }
}

fn tally(row: &TallyRow) -> Tally<&[u8]> {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Tally { network: &row.network, attempts: count(row.attempts), blocks: count(row.blocks) }
}
