use sqlx::types::Json;

use crate::clock::Timestamp;
use crate::limit::Counter;
use crate::store::write::{Expect, Write};

/// A bucket as it was read: `version` 0 when there is no row yet.
#[derive(Clone, Debug, Default)]
pub struct CounterRow {
    pub version: i64,
    pub counter: Counter,
}

impl Write {
    /// Guard: writes a counter back; conflict when anybody has moved it since it was read at `version`.
    pub fn put_counter(
        &mut self,
        bucket: [u8; 32],
        kind: &str,
        version: i64,
        counter: &Counter,
        expires_at: Timestamp,
    ) {
        let (bucket, kind, state) = (self.bind(bucket.to_vec()), self.bind(kind.to_owned()), self.bind(Json(counter)));
        let expires_at = self.bind(expires_at);
        if version == 0 {
            self.guard(
                "insert_counter",
                &format!(
                    "insert into counters (bucket, kind, state, expires_at) select {bucket}, {kind}, {state}, {expires_at}
                     where {{after}} on conflict (bucket) do nothing returning 1"
                ),
            );
        } else {
            let version = self.bind(version);
            self.guard(
                "update_counter",
                &format!(
                    "update counters set version = version + 1, kind = {kind}, state = {state}, expires_at = {expires_at}
                     where bucket = {bucket} and version = {version} and {{after}} returning 1"
                ),
            );
        }
    }

    /// Forgets buckets, whatever they have counted.
    pub fn clear_counters(&mut self, buckets: &[[u8; 32]]) {
        let buckets: Vec<Vec<u8>> = buckets.iter().map(|bucket| bucket.to_vec()).collect();
        let buckets = self.bind(buckets);
        self.step(
            "clear_counters",
            Expect::Any,
            format!("delete from counters where bucket = any({buckets}) returning 1"),
        );
    }

    /// Notes a distinct member of a set that is counted over a window (identifiers failed from one network).
    pub fn put_member(&mut self, bucket: [u8; 32], member: [u8; 32], at: Timestamp) {
        let (bucket, member, at) = (self.bind(bucket.to_vec()), self.bind(member.to_vec()), self.bind(at));
        self.step(
            "put_member",
            Expect::Rows(1),
            format!(
                "insert into counter_members (bucket, member, at) values ({bucket}, {member}, {at})
                 on conflict (bucket, member) do update set at = excluded.at returning 1"
            ),
        );
    }
}
