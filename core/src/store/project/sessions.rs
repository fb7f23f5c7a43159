use crate::account::Role;
use crate::clock::Timestamp;
use crate::store::write::{Expect, Write};
use crate::value::{AccountId, DeviceId, SessionId};

/// A session row as a login makes it.
pub struct NewSession<'a> {
    pub id: SessionId,
    pub account: AccountId,
    pub session_epoch: i64,
    pub key_id: &'a str,
    pub salt: [u8; 16],
    pub device: Option<DeviceId>,
    /// Sealed address and user agent.
    pub origin: Vec<u8>,
    pub created_at: Timestamp,
    pub absolute_end: Timestamp,
    pub idle_end: Option<Timestamp>,
}

impl Write {
    /// The account's guard row must be held in the same statement, with the epoch that was read before hashing.
    pub fn insert_session(&mut self, session: NewSession<'_>) {
        let created = self.bind(session.created_at);
        let binds = [
            self.bind(session.id.0),
            self.bind(session.account.0),
            self.bind(session.session_epoch),
            self.bind(session.key_id.to_owned()),
            self.bind(session.salt.to_vec()),
            self.bind(session.device.map(|device| device.0)),
            self.bind(session.origin),
            self.bind(session.absolute_end),
            self.bind(session.idle_end),
        ];
        self.step(
            "insert_session",
            Expect::Rows(1),
            format!(
                "insert into sessions (session_id, account_id, session_epoch, key_id, salt, device_id, origin, absolute_end, idle_end,
                    generation, created_at, rotated_at, last_used_at)
                 values ({}, 1, {created}, {created}, {created}) returning 1",
                binds.join(", ")
            ),
        );
    }

    /// Ends the sessions of an account, but for one that moves on into the new epoch.
    pub fn end_sessions(
        &mut self,
        account: AccountId,
        spared: Option<SessionId>,
        reason: &str,
        at: Timestamp,
        epoch: i64,
    ) {
        let (account, reason, at) = (self.bind(account.0), self.bind(reason.to_owned()), self.bind(at));
        let spared_bind = self.bind(spared.map(|session| session.0));
        self.step(
            "end_sessions",
            Expect::Any,
            format!(
                "update sessions set revoked_at = {at}, revoked_reason = {reason}
                 where account_id = {account} and revoked_at is null and session_id is distinct from {spared_bind} returning 1"
            ),
        );
        if spared.is_some() {
            let epoch = self.bind(epoch);
            self.step(
                "spare_session",
                Expect::Rows(1),
                format!(
                    "update sessions set session_epoch = {epoch}
                     where session_id = {spared_bind} and account_id is not distinct from {account} and num_nonnulls(revoked_at) = 0 returning 1"
                ),
            );
        }
    }

    /// Ends one session; conflict when it is over already.
    pub fn end_session(&mut self, session: SessionId, reason: &str, at: Timestamp) {
        let (session, reason, at) = (self.bind(session.0), self.bind(reason.to_owned()), self.bind(at));
        self.step(
            "end_session",
            Expect::Rows(1),
            format!(
                "update sessions set revoked_at = {at}, revoked_reason = {reason}
                 where session_id = {session} and num_nonnulls(revoked_at) = 0 returning 1"
            ),
        );
    }

    pub fn insert_device(
        &mut self,
        device: DeviceId,
        account: AccountId,
        key_id: &str,
        salt: [u8; 16],
        now: Timestamp,
    ) {
        let binds = [
            self.bind(device.0),
            self.bind(account.0),
            self.bind(key_id.to_owned()),
            self.bind(salt.to_vec()),
            self.bind(now),
        ];
        self.step(
            "insert_device",
            Expect::Rows(1),
            format!(
                "insert into devices (device_id, account_id, key_id, salt, created_at, last_used_at)
                 values ({}, {}, {}, {}, {now}, {now}) returning 1",
                binds[0],
                binds[1],
                binds[2],
                binds[3],
                now = binds[4]
            ),
        );
    }
    /// Guard: the session is in force, and its account has the role, until the statement is over. What ends either waits for it, or is seen.
    ///
    /// Without a role it is the owner's own doing, which moves the account's guard row next: that is taken as it will be then, or two
    /// at once would both hold what each waits for. The locks are taken in this order, account before session, as everywhere.
    pub fn require_session(&mut self, session: SessionId, role: Option<Role>) {
        let locks = match role {
            Some(_) => "for share of t, s, a",
            None => "for no key update of t for share of s, a",
        };
        let session = self.bind(session.0);
        let role = self.bind(role.map(Role::as_str));
        self.guard(
            "require_session",
            &format!(
                "select 1 from sessions s
                 join streams t on t.stream_id = s.account_id and t.session_epoch = s.session_epoch
                 join accounts a on a.account_id = s.account_id and a.status = 'active'
                 where s.session_id = {session} and num_nonnulls(s.revoked_at) = 0
                   and ({role}::text is null or {role} = any(a.roles)) and {{after}} {locks}"
            ),
        );
    }

    /// No device of the account is known any more.
    pub fn forget_devices(&mut self, account: AccountId) {
        let account = self.bind(account.0);
        self.step(
            "forget_devices",
            Expect::Any,
            format!("delete from devices where account_id = {account} returning 1"),
        );
    }
}
