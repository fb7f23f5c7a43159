//! What the events of one account come to: beside the account itself its sessions, mailed tokens and devices. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use crate::account::{Account, AccountEvent, Status, evolve};
use crate::clock::Timestamp;
use crate::event::{Event, Personal};
use crate::session::SessionEvent;
use crate::store::project::tokens::TokenKind;
use crate::value::{AccountId, DeviceId, EventId, SessionId, TokenId};

/// A login and an event that ends sessions may be on their way at once. Whichever takes the account's guard row second works with
/// the snapshot it began with, so the ending may not see the new row: the session is over by its epoch, without a mark. Two such
/// statements begin within the time that one may take. Source: statement timeout 3 s and pool wait 1.5 s of `store::db`, doubled.
const CROSSING: Duration = Duration::from_secs(9);

/// An event on its way into the replay.
pub struct Past {
    pub id: EventId,
    pub stream: Uuid,
    pub version: i64,
    pub event: Event,
    /// `None` once the key has been deleted.
    pub personal: Option<Personal>,
}

/// How a session row is marked as over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub at: Timestamp,
    pub reason: String,
}

pub struct Session {
    /// The account's session epoch at its login.
    begun_in: i64,
    pub device: Option<DeviceId>,
    /// Address and user agent; `None` once they have been erased.
    pub origin: Option<(String, String)>,
    pub created_at: Timestamp,
    /// As its own stream tells. Whoever ends a session second writes nothing, so this goes before what the account's stream tells.
    end: Option<End>,
}

/// Where a session stands after all events.
pub struct Fate<'a> {
    pub epoch: i64,
    /// The mark that its row may bear: one, or several where a login crossed the end of all sessions.
    pub ends: Vec<Option<&'a End>>,
}

/// An event of the account that raised its session epoch.
struct Ending {
    end: End,
    spared: Option<SessionId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    Open,
    Used,
    Expired,
    Void,
}

impl TokenState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }
}

pub struct Token {
    pub kind: TokenKind,
    pub state: TokenState,
    /// `None` when only its end is an event.
    pub created_at: Option<Timestamp>,
}

impl Token {
    /// Whether a row in this state has been voided by what is no event of the account: a registration with its address voids a
    /// reset link.
    pub fn was_voided_unseen(&self, live: &str) -> bool {
        self.kind == TokenKind::Reset && self.state == TokenState::Open && live == "void"
    }
}

/// What the events of one account come to.
#[derive(Default)]
pub struct Replay {
    pub account: Account,
    pub last_login_at: Option<Timestamp>,
    /// Where it was brought over from: the service, and its id there.
    pub imported: Option<(String, String)>,
    /// When the credential was last set or stored anew.
    pub credential_at: Option<Timestamp>,
    pub logins: i64,
    /// Last version of each stream.
    pub versions: BTreeMap<Uuid, i64>,
    pub sessions: BTreeMap<SessionId, Session>,
    pub tokens: BTreeMap<TokenId, Token>,
    /// When a login was remembered, and the account's session epoch then.
    pub devices: BTreeMap<DeviceId, (Timestamp, i64)>,
    /// Devices of epochs before this one have been forgotten.
    known_since: i64,
    /// The n-th raised the session epoch from n to n + 1.
    endings: Vec<Ending>,
}

impl Replay {
    /// Takes the next event of a stream. Events of one stream come in the order of their versions, streams in any order.
    pub fn apply(&mut self, account: AccountId, past: Past) -> Result<(), String> {
        let last = self.versions.insert(past.stream, past.version).unwrap_or(0);
        let at = past.id.at();
        match &past.event {
            Event::Account(event) if past.stream == account.0 => self.account(event, at),
            Event::Session(event) => self.session(SessionId(past.stream), event, at, past.personal)?,
            Event::Account(_)
            | Event::Attempt(_)
            | Event::Notification(_)
            | Event::Operator(_)
            | Event::Security(_) => {
                return Err(format!("event {} does not belong to stream {}", past.id, past.stream));
            }
        }
        if past.version == last + 1 {
            Ok(())
        } else {
            Err(format!("stream {}: version {} follows {last}", past.stream, past.version))
        }
    }

    fn account(&mut self, event: &AccountEvent, at: Timestamp) {
        let before = self.account.credential;
        self.account = evolve(std::mem::take(&mut self.account), event, at);
        if let AccountEvent::AccountImported { source, source_id, last_login_at, .. } = event {
            self.imported = Some((source.clone(), source_id.clone()));
            self.last_login_at = self.last_login_at.max(*last_login_at);
        }
        if self.account.credential != before {
            self.credential_at = Some(at);
        }
        if let Some(spared) = event.ends_sessions() {
            let (reason, _) = Event::Account(event.clone()).stored();
            self.endings.push(Ending { end: End { at, reason }, spared });
        }
        if matches!(event, AccountEvent::AccountFrozenByOwner { .. }) {
            self.known_since = self.account.session_epoch;
        }
        self.token(event, at);
    }

    fn session(
        &mut self,
        id: SessionId,
        event: &SessionEvent,
        at: Timestamp,
        personal: Option<Personal>,
    ) -> Result<(), String> {
        let reason = match event {
            SessionEvent::LoggedIn { method: _, device, device_known, session_epoch } => {
                self.logins += 1;
                self.last_login_at = self.last_login_at.max(Some(at));
                if let (Some(device), false) = (device, device_known) {
                    self.devices.insert(*device, (at, *session_epoch));
                }
                let origin = personal.and_then(|personal| Some((personal.address?, personal.user_agent?)));
                let session = Session { begun_in: *session_epoch, device: *device, origin, created_at: at, end: None };
                let again = self.sessions.insert(id, session).is_some();
                return if again { Err(format!("session {id} began twice")) } else { Ok(()) };
            }
            SessionEvent::RefreshTokenReused { .. } => return Ok(()),
            SessionEvent::LoggedOut => "logged_out",
            SessionEvent::SessionRevoked { reason, .. } => reason.as_str(),
            SessionEvent::SessionExpired => "expired",
        };
        let session = self.sessions.get_mut(&id).ok_or_else(|| format!("session {id} ended before it began"))?;
        if session.end.is_some() {
            return Err(format!("session {id} ended twice"));
        }
        session.end = Some(End { at, reason: reason.to_owned() });
        Ok(())
    }

    /// Asked when all events have been told: of an account that was erased no rows are left but its own, of one that was frozen no device.
    pub fn end(&mut self) {
        if self.account.status == Status::Erased {
            (self.sessions, self.tokens, self.devices) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        }
        let since = self.known_since;
        self.devices.retain(|_, (_, epoch)| *epoch >= since);
    }

    /// The epoch a session belongs to and how it may be marked. Asked after all events.
    pub fn fate<'a>(&'a self, id: SessionId, session: &'a Session) -> Fate<'a> {
        let begun_in = usize::try_from(session.begun_in).unwrap_or(usize::MAX);
        let later = self.endings.get(begun_in..).unwrap_or_default();
        let moved_on = later.iter().take_while(|ending| ending.spared == Some(id)).count();
        let later = &later[moved_on..];
        let ends = match (&session.end, later.first()) {
            (Some(own), _) => vec![Some(own)],
            (None, None) => vec![None],
            (None, Some(first)) if first.crosses(session) => {
                later.iter().map(|ending| Some(&ending.end)).chain([None]).collect()
            }
            (None, Some(first)) => vec![Some(&first.end)],
        };
        Fate { epoch: session.begun_in.saturating_add(i64::try_from(moved_on).unwrap_or(i64::MAX)), ends }
    }

    fn token(&mut self, event: &AccountEvent, at: Timestamp) {
        use TokenKind::{Cancel, Change, NotMe, Reset, Undo, Verify};
        match event {
            AccountEvent::EmailVerificationRequested { token } => self.open(*token, Verify, at),
            AccountEvent::PasswordResetRequested { token } => self.open(*token, Reset, at),
            AccountEvent::EmailChangeRequested { token, .. } => self.open(*token, Change, at),
            AccountEvent::EmailVerificationExpired { token } => self.close(*token, Verify, TokenState::Expired),
            AccountEvent::PasswordResetExpired { token } => self.close(*token, Reset, TokenState::Expired),
            AccountEvent::EmailChangeExpired { token } => self.close(*token, Change, TokenState::Expired),
            AccountEvent::EmailVerified { token: Some(token) } => self.close(*token, Verify, TokenState::Used),
            AccountEvent::PasswordResetForced { token, .. } => {
                self.void(&[Change]);
                self.open(*token, Reset, at);
            }
            AccountEvent::PasswordChanged { .. } => self.void(&[Reset, Change]),
            AccountEvent::PasswordReset { token, .. } => {
                self.close(*token, Reset, TokenState::Used);
                self.void(&[Reset, Change]);
            }
            AccountEvent::EmailChanged { token, .. } => {
                self.close(*token, Change, TokenState::Used);
                self.void(&[Reset, Verify]);
            }
            AccountEvent::EmailChangeUndone { token, .. } => {
                self.close(*token, Undo, TokenState::Used);
                self.void(&[Reset, Change, Verify, Cancel]);
            }
            AccountEvent::DeletionRequested { token, .. } => {
                self.void(&[Reset, Change]);
                self.open(*token, Cancel, at);
            }
            AccountEvent::DeletionCancelled { token: Some(token), .. } => self.close(*token, Cancel, TokenState::Used),
            AccountEvent::DeletionCancelled { token: None, .. } => self.void(&[Cancel]),
            AccountEvent::AccountFrozenByOwner { token, reset } => {
                self.close(*token, NotMe, TokenState::Used);
                self.void(&[Change, Verify, Cancel]);
                self.open(*reset, Reset, at);
            }
            AccountEvent::Registered { .. }
            | AccountEvent::AccountImported { .. }
            | AccountEvent::EmailVerified { token: None }
            | AccountEvent::ProfileUpdated { .. }
            | AccountEvent::PasswordRehashed { .. }
            | AccountEvent::AccountLocked { .. }
            | AccountEvent::AccountUnlocked { .. }
            | AccountEvent::AccountDisabled { .. }
            | AccountEvent::AccountEnabled { .. }
            | AccountEvent::RoleGranted { .. }
            | AccountEvent::RoleRevoked { .. }
            | AccountEvent::AllSessionsRevoked { .. }
            | AccountEvent::AccountErased { .. }
            | AccountEvent::DataKeyShredded { .. } => {}
        }
    }

    fn open(&mut self, id: TokenId, kind: TokenKind, at: Timestamp) {
        self.void(&[kind]);
        self.tokens.insert(id, Token { kind, state: TokenState::Open, created_at: Some(at) });
    }

    /// A token may be named for the first time at its end. One that is over stays as it is: a reset link is also named by the
    /// verification it proves.
    fn close(&mut self, id: TokenId, kind: TokenKind, state: TokenState) {
        let token = self.tokens.entry(id).or_insert(Token { kind, state: TokenState::Open, created_at: None });
        if token.state == TokenState::Open {
            token.state = state;
        }
    }

    fn void(&mut self, kinds: &[TokenKind]) {
        for token in self.tokens.values_mut() {
            if token.state == TokenState::Open && kinds.contains(&token.kind) {
                token.state = TokenState::Void;
            }
        }
    }
}

impl Ending {
    fn crosses(&self, session: &Session) -> bool {
        self.end.at.since(session.created_at).max(session.created_at.since(self.end.at)) <= CROSSING
    }
}
