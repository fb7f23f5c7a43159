use crate::store::write::{Expect, Write};
use crate::value::SessionId;

/// A write that may be repeated: who asks, under which key, for what. All three are MACs; nothing of the request is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub scope: [u8; 32],
    pub key: [u8; 32],
    pub request: [u8; 32],
}

impl Write {
    /// Remembers the outcome beside the write itself, if the request came with a key; conflict when that was used in the last 24 hours.
    pub fn put_idempotency(&mut self, key: Option<IdempotencyKey>, status: u16, session: Option<SessionId>) {
        let Some(key) = key else { return };
        let binds = [
            self.bind(key.scope.to_vec()),
            self.bind(key.key.to_vec()),
            self.bind(key.request.to_vec()),
            self.bind(i16::try_from(status).unwrap_or(i16::MAX)),
            self.bind(session.map(|session| session.0)),
        ];
        self.step(
            "idempotency",
            Expect::Rows(1),
            format!(
                "insert into idempotency as i (scope, key_hash, request_mac, status, session_id) values ({})
                 on conflict (scope, key_hash) do update set request_mac = excluded.request_mac, status = excluded.status,
                     session_id = excluded.session_id, created_at = excluded.created_at
                 where i.created_at <= clock_timestamp() - interval '24 hours' returning 1",
                binds.join(", ")
            ),
        );
    }
}
