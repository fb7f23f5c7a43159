use uuid::Uuid;

use crate::clock::Timestamp;
use crate::store::query::attempts::TallyRow;
use crate::store::write::{Expect, Write};

/// One failed login that has no event of its own.
pub struct NewTally {
    pub minute: Timestamp,
    pub network: [u8; 32],
    pub member: [u8; 32],
    pub blocks: u32,
    pub origin: Vec<u8>,
    pub pii_key_id: Uuid,
}

impl Write {
    /// Guard: `rows` more of a minute that has `most`; conflict when they are not left any more.
    pub fn spend_minute(&mut self, minute: Timestamp, rows: u32, most: u32) {
        let (minute, rows) = (self.bind(minute), self.bind(i64::from(rows)));
        let most = self.bind(i64::from(most));
        self.guard(
            "spend_minute",
            &format!(
                "insert into attempt_minutes as m (minute, recorded) select {minute}, {rows} where {{after}}
                 on conflict (minute) do update set recorded = m.recorded + {rows} where m.recorded + {rows} <= {most} returning 1"
            ),
        );
    }

    /// Guard: counts a failed login in its minute.
    pub fn tally(&mut self, tally: NewTally) {
        let binds = [
            self.bind(tally.minute),
            self.bind(tally.network.to_vec()),
            self.bind(tally.member.to_vec()),
            self.bind(i64::from(tally.blocks)),
            self.bind(tally.origin),
            self.bind(tally.pii_key_id),
        ];
        let [minute, network, member, blocks, origin, key] = binds;
        self.guard(
            "tally",
            &format!(
                "insert into attempt_tallies as t (minute, network, member, attempts, blocks, origin, pii_key_id)
                 select {minute}, {network}, {member}, 1, {blocks}, {origin}, {key} where {{after}}
                 on conflict (minute, network, member) do update set attempts = t.attempts + 1, blocks = t.blocks + excluded.blocks
                 returning 1"
            ),
        );
    }

    /// Guard: takes out what was read of a minute, which must be all of it up to the last row and as it was: nobody has counted on, and
    /// nobody has rolled it up.
    pub fn take_tallies(&mut self, tallies: &[TallyRow]) {
        let Some(last) = tallies.last() else { return };
        let (minute, network) = (self.bind(last.minute), self.bind(last.network.clone()));
        let member = self.bind(last.member.clone());
        let rows = self.bind(i64::try_from(tallies.len()).unwrap_or(i64::MAX));
        let attempts = self.bind(tallies.iter().map(|tally| tally.attempts).sum::<i64>());
        let taken = self.step(
            "take_tallies",
            Expect::Rows(tallies.len()),
            format!(
                "delete from attempt_tallies where minute = {minute} and (network, member) <= ({network}, {member}) returning attempts"
            ),
        );
        self.guard(
            "all_taken",
            &format!(
                "select 1 from (select count(*) as rows, coalesce(sum(attempts), 0) as attempts from {taken}) t
                 where t.rows = {rows} and t.attempts = {attempts} and {{after}}"
            ),
        );
    }
}
