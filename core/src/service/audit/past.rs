//! What an account was at a time, folded from the events that were sealed by then.

use super::{Caller, Context, Doorbook, Refusal, Sight, fault, seen};
use crate::account::{Account, AccountEvent, Role};
use crate::attempt::AttemptEvent;
use crate::clock::Timestamp;
use crate::event::{Event, Personal};
use crate::operator::OperatorEvent;
use crate::service::UNDO_WINDOW;
use crate::store::log::SealedEvent;
use crate::store::past;
use crate::store::project::tokens::TokenKind;
use crate::store::rebuild::fold::{Past, Replay, TokenState};
use crate::value::{AccountId, EventId, Locale, SessionId};

/// Most events of an account's own stream that are folded. Source: ten a day for five years.
const EVENTS_MAX: i64 = 20_000;
/// Most logins looked at for sessions that live; SESSIONS_MAX is far below.
const LOGINS_MAX: i64 = 1_000;
/// Most blocks looked at for one that holds.
const BLOCKS_MAX: i64 = 20;

/// An event by its name, for those who want to read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRef {
    pub position: i64,
    pub id: EventId,
    pub name: String,
    pub at: Timestamp,
}

impl EventRef {
    pub(super) fn of(event: &SealedEvent) -> Self {
        Self { position: event.position, id: event.event_id, name: event.name.clone(), at: event.recorded_at }
    }
}

/// A session that lived at that time.
#[derive(Clone, Debug)]
pub struct PastSession {
    pub id: SessionId,
    pub begun: EventRef,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    pub device_remembered: bool,
}

/// What had been asked for and waited to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    Verification,
    Reset,
    EmailChange,
    /// The address was changed, and its former owner could still take it back.
    EmailChangeUndo,
    /// The owner has asked for the account to be erased, and may take that back.
    Deletion,
}

impl Awaited {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Reset => "reset",
            Self::EmailChange => "email_change",
            Self::EmailChangeUndo => "email_change_undo",
            Self::Deletion => "deletion",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Pending {
    pub what: Awaited,
    pub since: Timestamp,
    /// The address that a change would lead to; masked for auditors.
    pub new_email: Option<String>,
}

/// An account as it was.
#[derive(Debug)]
pub struct StateView {
    pub at: Timestamp,
    pub id: AccountId,
    /// `absent` before it was registered.
    pub status: &'static str,
    /// It had a name and an address, which have been erased since.
    pub erased: bool,
    /// Mailbox and names, masked as in events.
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub email_verified_at: Option<Timestamp>,
    pub locale: Option<Locale>,
    pub roles: Vec<Role>,
    pub locked_at: Option<Timestamp>,
    pub blocked_until: Option<Timestamp>,
    pub reset_required_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
    pub password_changed_at: Option<Timestamp>,
    pub last_login_at: Option<Timestamp>,
    /// The newest first. A session whose time had run out counts until the event that says so.
    pub sessions: Vec<PastSession>,
    pub pending: Vec<Pending>,
    /// The last event of the account's own that was folded.
    pub last_event: Option<EventRef>,
}

/// An event of the account's own stream, read.
pub(super) struct Happened {
    pub sealed: SealedEvent,
    pub event: AccountEvent,
}

/// What the events until a time come to.
pub(super) struct Moment {
    pub replay: Replay,
    /// The newest first.
    pub sessions: Vec<PastSession>,
    /// A block that held: until when, and since which event.
    pub block: Option<(Timestamp, EventRef)>,
    pub pending: Vec<Pending>,
    pub last_login_at: Option<Timestamp>,
}

impl Doorbook {
    /// An account as it was at a time: now, when none is given. That it was looked at is an event.
    pub async fn account_state(
        &self,
        caller: Caller,
        account: AccountId,
        at: Option<Timestamp>,
        context: &Context,
    ) -> Result<StateView, Refusal> {
        let until = at.unwrap_or_else(|| self.clock.now());
        let story = self.story(account, until).await?;
        let asked = at.map(|_| "at".to_owned());
        let fields: Vec<_> = std::iter::once("state".to_owned()).chain(asked).collect();
        self.note(caller, Some(account), OperatorEvent::AuditSearched { fields }, context).await?;
        let sight = self.sight(caller).await?;
        let Moment { replay, sessions, block, pending, last_login_at } = self.moment(account, &story, until).await?;
        let pending = pending.into_iter().map(|it| Pending { new_email: masked(it.new_email, sight), ..it });
        let state = replay.account;
        let erased = is_erased(&state);
        let shown = shown(&state, sight);
        Ok(StateView {
            at: until,
            id: account,
            status: state.status.as_str(),
            erased,
            email: shown.email,
            first_name: shown.first_name,
            last_name: shown.last_name,
            email_verified_at: state.email_verified_at,
            locale: state.locale,
            roles: state.roles.into_iter().collect(),
            locked_at: state.locked_at,
            blocked_until: block.map(|(until, _)| until),
            reset_required_at: state.reset_required_at,
            created_at: state.created_at,
            password_changed_at: state.password_changed_at,
            last_login_at,
            sessions,
            pending: pending.collect(),
            last_event: story.last().map(|last| EventRef::of(&last.sealed)),
        })
    }

    /// The account's own sealed events until a time, the first first; `NotFound` when it never had any.
    pub(super) async fn story(&self, account: AccountId, until: Timestamp) -> Result<Vec<Happened>, Refusal> {
        let sealed = past::of_account(&self.db, account, until, EVENTS_MAX).await?;
        if sealed.is_empty()
            && past::of_account(&self.db, account, Timestamp::from_micros(i64::MAX / 2), 1).await?.is_empty()
        {
            return Err(Refusal::NotFound);
        }
        if i64::try_from(sealed.len()).unwrap_or(i64::MAX) >= EVENTS_MAX {
            return Err(fault("id", format!("has had {EVENTS_MAX} events or more, which is too many to fold")));
        }
        let keys = self.vault.keys_of(&self.db, sealed.iter().filter_map(|event| event.pii_key_id)).await?;
        let mut story = Vec::with_capacity(sealed.len());
        // A clock that was set back may have recorded a later event at an earlier time: what comes behind a gap is not yet there.
        for (sealed, version) in sealed.into_iter().zip(1..).take_while(|(sealed, version)| sealed.version == *version)
        {
            let _: i64 = version;
            if let (Event::Account(event), _) = sealed.read(&keys)? {
                story.push(Happened { sealed, event });
            }
        }
        Ok(story)
    }

    /// What the part of a story until `at` comes to, with the sessions and blocks of that time.
    pub(super) async fn moment(
        &self,
        account: AccountId,
        story: &[Happened],
        at: Timestamp,
    ) -> Result<Moment, Refusal> {
        let story = until(story, at);
        let mut replay = Replay::default();
        for happened in story {
            step(&mut replay, account, happened)?;
        }
        let pending = pending(&replay, story, at);
        let sessions = self.sessions_at(&mut replay, account, at).await?;
        let newest = past::named(&self.db, account, &["LoggedIn"], at, None, 1).await?;
        let last_login_at = replay.last_login_at.max(newest.first().map(|login| login.event_id.at()));
        let block = self.block_at(account, story, at).await?;
        Ok(Moment { replay, sessions, block, pending, last_login_at })
    }

    async fn sessions_at(
        &self,
        replay: &mut Replay,
        account: AccountId,
        at: Timestamp,
    ) -> Result<Vec<PastSession>, Refusal> {
        let logins = past::open_logins(&self.db, account, at, LOGINS_MAX).await?;
        let keys = self.vault.keys_of(&self.db, logins.iter().filter_map(|login| login.pii_key_id)).await?;
        let mut begun = Vec::with_capacity(logins.len());
        for login in logins {
            let (event, personal) = login.read(&keys)?;
            let (address, user_agent) =
                personal.as_ref().map(|it| (it.address.clone(), it.user_agent.clone())).unwrap_or_default();
            begun.push((EventRef::of(&login), SessionId(login.stream_id), address, user_agent));
            let past = Past { id: login.event_id, stream: login.stream_id, version: login.version, event, personal };
            replay.apply(account, past).map_err(Refusal::Internal)?;
        }
        let lives = |id: SessionId| {
            let session = replay.sessions.get(&id)?;
            (replay.fate(id, session).epoch == replay.account.session_epoch).then_some(session.device.is_some())
        };
        let sessions = begun.into_iter().filter_map(|(begun, id, address, user_agent)| {
            lives(id).map(|device_remembered| PastSession { id, begun, address, user_agent, device_remembered })
        });
        Ok(sessions.collect())
    }

    /// The block that held longest, if one did.
    async fn block_at(
        &self,
        account: AccountId,
        story: &[Happened],
        at: Timestamp,
    ) -> Result<Option<(Timestamp, EventRef)>, Refusal> {
        let lifted = story.iter().rev().find(|happened| {
            matches!(happened.event, AccountEvent::AccountUnlocked { .. } | AccountEvent::PasswordReset { .. })
        });
        let lifted = lifted.map(|happened| happened.sealed.recorded_at);
        let mut longest = None;
        for block in past::named(&self.db, account, &["LoginBlocked"], at, None, BLOCKS_MAX).await? {
            let read = Event::read(&block.kind, &block.name, &block.payload, None);
            if let Event::Attempt(AttemptEvent::LoginBlocked { until }) =
                read.map_err(crate::store::StoreError::from)?
                && until > at
                && lifted.is_none_or(|lifted| block.recorded_at > lifted)
                && longest.as_ref().is_none_or(|(other, _)| until > *other)
            {
                longest = Some((until, EventRef::of(&block)));
            }
        }
        Ok(longest)
    }
}

/// The part of a story that was recorded by then.
pub(super) fn until(story: &[Happened], at: Timestamp) -> &[Happened] {
    let end = story.iter().position(|happened| happened.sealed.recorded_at > at).unwrap_or(story.len());
    &story[..end]
}

/// Takes the next event.
pub(super) fn step(replay: &mut Replay, account: AccountId, happened: &Happened) -> Result<(), Refusal> {
    let Happened { sealed, event } = happened;
    let event = Event::Account(event.clone());
    let past = Past { id: sealed.event_id, stream: sealed.stream_id, version: sealed.version, event, personal: None };
    replay.apply(account, past).map_err(Refusal::Internal)
}

/// What waited for somebody at a time, in a fixed order.
pub(super) fn pending(replay: &Replay, story: &[Happened], at: Timestamp) -> Vec<Pending> {
    let mut pending = Vec::new();
    for (id, token) in &replay.tokens {
        let (Some(since), TokenState::Open) = (token.created_at, token.state) else { continue };
        let what = match token.kind {
            TokenKind::Verify => Awaited::Verification,
            TokenKind::Reset => Awaited::Reset,
            TokenKind::Change => Awaited::EmailChange,
            TokenKind::Cancel => Awaited::Deletion,
            TokenKind::Undo | TokenKind::NotMe => continue,
        };
        let new_email = story.iter().rev().find_map(|happened| match &happened.event {
            AccountEvent::EmailChangeRequested { token, new_email } if token == id => new_email.clone(),
            _ => None,
        });
        pending.push(Pending { what, since, new_email });
    }
    let changed = story.iter().rev().find(|happened| {
        matches!(happened.event, AccountEvent::EmailChanged { .. } | AccountEvent::EmailChangeUndone { .. })
    });
    if let Some(Happened { event: AccountEvent::EmailChanged { .. }, sealed }) = changed
        && sealed.event_id.at().plus(UNDO_WINDOW) > at
    {
        pending.push(Pending { what: Awaited::EmailChangeUndo, since: sealed.event_id.at(), new_email: None });
    }
    pending.sort_by_key(|pending| (pending.what, pending.since));
    pending
}

/// Whether the personal data of an account that had some is gone.
pub(super) const fn is_erased(account: &Account) -> bool {
    account.created_at.is_some() && account.profile.is_none()
}

/// Mailbox and names as a caller may see them.
pub(super) fn shown(account: &Account, sight: Sight) -> Personal {
    let profile = account.profile.as_ref();
    let personal = Personal {
        email: profile.map(|profile| profile.email.clone()),
        first_name: profile.map(|profile| profile.first_name.clone()),
        last_name: profile.map(|profile| profile.last_name.clone()),
        ..Personal::default()
    };
    seen(personal, sight)
}

pub(super) fn masked(email: Option<String>, sight: Sight) -> Option<String> {
    seen(Personal { email, ..Personal::default() }, sight).email
}
