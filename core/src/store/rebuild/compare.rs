//! Compares the live rows of one account with what its events come to. Pure. No difference shows personal data.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

use uuid::Uuid;

use super::Report;
use super::fold::{Replay, Session};
use crate::account::Profile;
use crate::clock::Timestamp;
use crate::store::project::tokens::TokenKind;
use crate::value::{AccountId, CredentialId, DeviceId, Locale, SessionId, TokenId};

/// The live rows of one account.
#[derive(Default)]
pub struct Live {
    pub account: Option<AccountRow>,
    pub credential: Option<CredentialRow>,
    pub emails: Vec<EmailRow>,
    pub sessions: Vec<SessionRow>,
    pub tokens: Vec<TokenRow>,
    pub devices: Vec<DeviceRow>,
    /// Service and id that it was brought over from.
    pub import: Option<(String, String)>,
    pub streams: Vec<StreamRow>,
}

pub struct AccountRow {
    pub account_id: AccountId,
    pub profile: Option<Vec<u8>>,
    pub locale: String,
    pub status: String,
    pub roles: Vec<String>,
    pub email_verified_at: Option<Timestamp>,
    pub locked_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub password_changed_at: Option<Timestamp>,
    pub last_login_at: Option<Timestamp>,
    pub reset_required_at: Option<Timestamp>,
    pub erase_at: Option<Timestamp>,
}

pub struct CredentialRow {
    pub account_id: AccountId,
    pub kind: String,
    pub credential_id: CredentialId,
    pub version: i32,
    pub updated_at: Timestamp,
}

/// A current address.
pub struct EmailRow {
    pub account_id: AccountId,
    pub email_key: Vec<u8>,
    pub key_id: String,
}

pub struct SessionRow {
    pub session_id: SessionId,
    pub account_id: AccountId,
    pub session_epoch: i64,
    pub device_id: Option<DeviceId>,
    pub origin: Option<Vec<u8>>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    pub revoked_reason: Option<String>,
}

pub struct TokenRow {
    pub token_id: TokenId,
    pub account_id: AccountId,
    pub kind: String,
    pub state: String,
    pub created_at: Timestamp,
}

pub struct DeviceRow {
    pub device_id: DeviceId,
    pub account_id: AccountId,
    pub created_at: Timestamp,
}

pub struct StreamRow {
    pub stream_id: Uuid,
    pub kind: String,
    pub subject_id: Option<Uuid>,
    pub version: i64,
    pub session_epoch: i64,
    pub logins: i64,
}

/// What had to be opened with the account's key, or made with the key of look-ups.
#[derive(Default)]
pub struct Opened {
    pub profile: Option<Profile>,
    /// Address and user agent, in the order of `Live::sessions`.
    pub origins: Vec<Option<(String, String)>>,
    /// Id of the active look-up key, and what it makes of the address that the events tell.
    pub lookup_key_id: String,
    pub email_key: Option<[u8; 32]>,
}

/// One row under comparison.
struct Row<'a> {
    report: &'a mut Report,
    table: &'static str,
    id: String,
}

impl<'a> Row<'a> {
    fn new(report: &'a mut Report, table: &'static str, id: impl Display) -> Self {
        Self { report, table, id: id.to_string() }
    }

    fn note(&mut self, what: impl Display) {
        self.report.note(format!("{} {}: {what}", self.table, self.id));
    }

    fn column<T: PartialEq + Debug>(&mut self, name: &str, live: &T, replayed: &T) {
        if live != replayed {
            self.note(format_args!("{name} is {live:?}, by its events {replayed:?}"));
        }
    }

    /// The same for what must not be shown.
    fn sealed<T: PartialEq>(&mut self, name: &str, live: &T, replayed: &T) {
        if live != replayed {
            self.note(format_args!("{name} is not what its events tell"));
        }
    }
}

/// Notes every derived column that differs.
pub fn compare(id: AccountId, live: &Live, opened: &Opened, replay: &Replay, report: &mut Report) {
    let registered = replay.account.created_at.is_some();
    let mut row = Row::new(report, "accounts", id);
    match &live.account {
        Some(_) if !registered => row.note("has no event that registers it"),
        Some(account) => account_row(&mut row, account, opened, replay),
        None if registered => row.note("has events but no row"),
        None => {}
    }
    credential(id, live, replay, report);
    email(id, live, opened, report);
    sessions(live, opened, replay, report);
    tokens(live, replay, report);
    devices(live, replay, report);
    let (live_import, replayed) = (live.import.as_ref(), replay.imported.as_ref());
    let mut row = Row::new(report, "imported_accounts", id);
    row.column("source", &live_import.map(|(source, _)| source), &replayed.map(|(source, _)| source));
    row.column("source_id", &live_import.map(|(_, id)| id), &replayed.map(|(_, id)| id));
    streams(id, live, replay, report);
}

fn account_row(row: &mut Row<'_>, live: &AccountRow, opened: &Opened, replay: &Replay) {
    let account = &replay.account;
    let roles: Vec<String> = account.roles.iter().map(|role| role.as_str().to_owned()).collect();
    row.sealed("profile", &opened.profile, &account.profile);
    row.column("locale", &live.locale.as_str(), &account.locale.map_or("en", Locale::as_str));
    row.column("status", &live.status.as_str(), &account.status.as_str());
    row.column("roles", &live.roles, &roles);
    row.column("email_verified_at", &live.email_verified_at, &account.email_verified_at);
    row.column("locked_at", &live.locked_at, &account.locked_at);
    row.column("created_at", &Some(live.created_at), &account.created_at);
    row.column("password_changed_at", &live.password_changed_at, &account.password_changed_at);
    row.column("last_login_at", &live.last_login_at, &replay.last_login_at);
    row.column("reset_required_at", &live.reset_required_at, &account.reset_required_at);
    row.column("erase_at", &live.erase_at, &account.erase_at);
}

fn credential(id: AccountId, live: &Live, replay: &Replay, report: &mut Report) {
    let mut row = Row::new(report, "credentials", id);
    match (&live.credential, replay.account.credential) {
        (Some(credential), Some(replayed)) => {
            row.column("kind", &credential.kind.as_str(), &"password");
            row.column("credential_id", &credential.credential_id, &replayed.id);
            row.column("version", &i64::from(credential.version), &i64::from(replayed.version));
            row.column("updated_at", &Some(credential.updated_at), &replay.credential_at);
        }
        (Some(_), None) => row.note("no event sets it"),
        (None, Some(_)) => row.note("has events but no row"),
        (None, None) => {}
    }
}

fn email(id: AccountId, live: &Live, opened: &Opened, report: &mut Report) {
    let mut row = Row::new(report, "account_emails", id);
    // While the key of look-ups is being replaced, rows of the old one cannot be made again.
    if live.emails.iter().any(|email| email.key_id != opened.lookup_key_id) {
        return;
    }
    let current: Vec<&[u8]> = live.emails.iter().map(|email| email.email_key.as_slice()).collect();
    let replayed: Vec<&[u8]> = opened.email_key.iter().map(<[u8; 32]>::as_slice).collect();
    row.sealed("current email_key", &current, &replayed);
}

fn sessions(live: &Live, opened: &Opened, replay: &Replay, report: &mut Report) {
    let rows: BTreeSet<_> = live.sessions.iter().map(|row| row.session_id).collect();
    for id in replay.sessions.keys().filter(|id| !rows.contains(id)) {
        Row::new(report, "sessions", id).note("has events but no row");
    }
    for (session, origin) in live.sessions.iter().zip(&opened.origins) {
        let mut row = Row::new(report, "sessions", session.session_id);
        match replay.sessions.get(&session.session_id) {
            Some(replayed) => session_row(&mut row, session, origin.as_ref(), replayed, replay),
            None => row.note("no event of its account begins it"),
        }
    }
}

fn session_row(
    row: &mut Row<'_>,
    live: &SessionRow,
    origin: Option<&(String, String)>,
    replayed: &Session,
    replay: &Replay,
) {
    let fate = replay.fate(live.session_id, replayed);
    row.column("session_epoch", &live.session_epoch, &fate.epoch);
    if fate.epoch > replay.account.session_epoch {
        row.note("began in an epoch that its account has not reached");
    }
    row.column("device_id", &live.device_id, &replayed.device);
    row.sealed("origin", &origin, &replayed.origin.as_ref());
    row.column("created_at", &live.created_at, &replayed.created_at);
    let mark = live.revoked_at.zip(live.revoked_reason.as_deref());
    let may_bear = |end: &Option<_>| end.map(|end: &super::fold::End| (end.at, end.reason.as_str())) == mark;
    if !fate.ends.iter().any(may_bear) {
        let expected = fate.ends.first().copied().flatten();
        row.column("revoked_at", &live.revoked_at, &expected.map(|end| end.at));
        row.column("revoked_reason", &live.revoked_reason.as_ref(), &expected.map(|end| &end.reason));
    }
}

fn tokens(live: &Live, replay: &Replay, report: &mut Report) {
    let rows: BTreeSet<_> = live.tokens.iter().map(|row| row.token_id).collect();
    for id in replay.tokens.keys().filter(|id| !rows.contains(id)) {
        Row::new(report, "tokens", id).note("has events but no row");
    }
    for token in &live.tokens {
        let mut row = Row::new(report, "tokens", token.token_id);
        let kind = TokenKind::parse(&token.kind);
        let Some(replayed) = replay.tokens.get(&token.token_id) else {
            if !matches!(kind, Some(TokenKind::Reset | TokenKind::Undo | TokenKind::NotMe)) {
                row.note("no event asks for it");
            }
            continue;
        };
        row.column("kind", &kind, &Some(replayed.kind));
        row.column("created_at", &token.created_at, &replayed.created_at.unwrap_or(token.created_at));
        if !replayed.was_voided_unseen(&token.state) {
            row.column("state", &token.state.as_str(), &replayed.state.as_str());
        }
    }
}

fn devices(live: &Live, replay: &Replay, report: &mut Report) {
    let rows: BTreeSet<_> = live.devices.iter().map(|row| row.device_id).collect();
    for id in replay.devices.keys().filter(|id| !rows.contains(id)) {
        Row::new(report, "devices", id).note("has events but no row");
    }
    for device in &live.devices {
        let mut row = Row::new(report, "devices", device.device_id);
        match replay.devices.get(&device.device_id) {
            Some((made, _)) => row.column("created_at", &device.created_at, made),
            None => row.note("no login remembers it"),
        }
    }
}

fn streams(id: AccountId, live: &Live, replay: &Replay, report: &mut Report) {
    let rows: BTreeSet<_> = live.streams.iter().map(|row| row.stream_id).collect();
    for stream in replay.versions.keys().filter(|stream| !rows.contains(stream)) {
        Row::new(report, "streams", stream).note("has events but no row");
    }
    for stream in &live.streams {
        let of_account = stream.stream_id == id.0;
        let (kind, epoch, logins) =
            if of_account { ("account", replay.account.session_epoch, replay.logins) } else { ("session", 0, 0) };
        let mut row = Row::new(report, "streams", stream.stream_id);
        row.column("kind", &stream.kind.as_str(), &kind);
        row.column("subject_id", &stream.subject_id, &Some(id.0));
        row.column("version", &stream.version, &replay.versions.get(&stream.stream_id).copied().unwrap_or(0));
        row.column("session_epoch", &stream.session_epoch, &epoch);
        row.column("logins", &stream.logins, &logins);
    }
}
