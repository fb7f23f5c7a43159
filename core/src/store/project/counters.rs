use std::sync::Arc;

use sqlx::types::Json;

use crate::clock::Timestamp;
use crate::limit::{Counter, Target};
use crate::store::keys::identifiers::{Bucket, Identifiers};
use crate::store::write::{Expect, Write};

/// A bucket as it was read, under whichever key it stood.
#[derive(Clone)]
pub struct CounterRow {
    pub counter: Counter,
    pub(in crate::store) bucket: Bucket,
    pub(crate) keys: Arc<Identifiers>,
    /// Its name and version; `None` when there is no row yet.
    pub(in crate::store) found: Option<(Vec<u8>, i64)>,
    /// The key of the targets in its state; `None` in rows that are older than changes of keys.
    pub(in crate::store) target_key_id: Option<String>,
}

impl CounterRow {
    /// Who a guess is at, as this bucket names them. Those that it remembers were named by one key, and a run must go on under it.
    pub fn target(&self, of: &Bucket) -> Target {
        let [a, b, c, d, ..] = self.keys.name_under(self.target_key(), of);
        Target(u32::from_be_bytes([a, b, c, d]))
    }

    fn target_key(&self) -> &str {
        match &self.target_key_id {
            _ if self.found.is_none() || self.counter.names_nobody() => self.keys.active_id(),
            Some(id) => id,
            None => self.keys.first_id(),
        }
    }
}

impl Write {
    /// Guard: writes a counter back; conflict when anybody has moved it, or changed the keys, since it was read. A bucket that stood
    /// under an earlier key moves to the active one.
    pub fn put_counter(&mut self, row: &CounterRow, counter: &Counter, expires_at: Timestamp) {
        let keys = self.keys_unchanged(&row.keys);
        let name = row.keys.name(&row.bucket);
        let (kind, state) = (self.bind(row.bucket.kind.to_owned()), self.bind(Json(counter)));
        let (expires_at, bucket) = (self.bind(expires_at), self.bind(name.to_vec()));
        let (key_id, target) = (self.bind(row.keys.active_id().to_owned()), self.bind(row.target_key().to_owned()));
        match &row.found {
            Some((found, version)) if found.as_slice() == name => {
                let version = self.bind(*version);
                self.guard(
                    "update_counter",
                    &format!(
                        "update counters set version = version + 1, kind = {kind}, state = {state},
                             expires_at = {expires_at}, key_id = {key_id}, target_key_id = {target}
                         where bucket = {bucket} and version = {version} and {keys} and {{after}} returning 1"
                    ),
                );
            }
            earlier => {
                if let Some((found, version)) = earlier {
                    let (found, version) = (self.bind(found.clone()), self.bind(*version));
                    self.guard(
                        "move_counter",
                        &format!(
                            "delete from counters where bucket = {found} and version = {version} and {{after}} returning 1"
                        ),
                    );
                }
                self.guard(
                    "insert_counter",
                    &format!(
                        "insert into counters (bucket, kind, state, expires_at, key_id, target_key_id)
                         select {bucket}, {kind}, {state}, {expires_at}, {key_id}, {target}
                         where {keys} and {{after}} on conflict (bucket) do nothing returning 1"
                    ),
                );
            }
        }
    }

    /// That the keys are those that names were made by. The statement has its lock on the table before it looks
    /// (`store::keys::change`).
    fn keys_unchanged(&mut self, keys: &Identifiers) -> String {
        let version = self.bind(keys.version);
        format!("exists (select 1 from key_guards where purpose = 'identifier' and version = {version})")
    }

    /// Forgets a bucket, whatever it has counted.
    pub fn clear_counter(&mut self, keys: &Identifiers, bucket: &Bucket) {
        let unchanged = self.keys_unchanged(keys);
        self.step("keys_unchanged", Expect::Rows(1), format!("select 1 where {unchanged}"));
        let names = self.bind(keys.names(bucket));
        self.step(
            "clear_counter",
            Expect::Any,
            format!("delete from counters where bucket = any({names}) returning 1"),
        );
    }

    /// Notes a distinct member of a set that is counted over a window (identifiers failed from one network). Goes with a counter of
    /// the same keys, which says that they are unchanged.
    pub fn put_member(&mut self, keys: &Identifiers, bucket: &Bucket, member: &Bucket, at: Timestamp) {
        if keys.have_changed() {
            let (buckets, members) = (self.bind(keys.names(bucket)), self.bind(keys.names(member)));
            self.step(
                "move_member",
                Expect::Any,
                format!(
                    "delete from counter_members where bucket = any(({buckets}::bytea[])[2:])
                         and member = any(({members}::bytea[])[2:]) returning 1"
                ),
            );
        }
        let (bucket, member) = (self.bind(keys.name(bucket).to_vec()), self.bind(keys.name(member).to_vec()));
        let at = self.bind(at);
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
