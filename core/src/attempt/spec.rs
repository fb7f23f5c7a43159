//! Refusals and their reasons as sentences.

use std::time::Duration;

use uuid::Uuid;

use super::{AttemptEvent, End, Fact, Ground, LoginFailure, explain};
use crate::account::AccountEvent;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::limit::Rule;
use crate::session::{LoginMethod, SessionEvent};
use crate::value::{CredentialId, EventId, Locale, TokenId};

const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);
const RULE: Rule = Rule { max: 5, window: Duration::from_secs(300), block: Duration::from_secs(900) };

fn at(seconds: u64) -> Timestamp {
    NOON.plus(Duration::from_secs(seconds))
}

/// Facts at seconds after noon, in streams by their number.
#[derive(Default)]
struct Story(Vec<Fact>);

impl Story {
    fn then(mut self, seconds: u64, stream: u128, event: impl Into<Event>) -> Self {
        let id = EventId::nth(at(seconds), u16::try_from(self.0.len()).unwrap());
        self.0.push(Fact { id, at: at(seconds), stream: Uuid::from_u128(stream), event: event.into() });
        self
    }

    fn failed(self, seconds: u64, stream: u128) -> Self {
        self.then(seconds, stream, AttemptEvent::LoginFailed { reason: LoginFailure::WrongPassword })
    }

    /// What is told of the last refusal, with events as their places in the story.
    fn told(&self, now: Timestamp) -> (Ground, Vec<usize>, Option<usize>, Option<Timestamp>) {
        let place = |id: EventId| self.0.iter().position(|fact| fact.id == id).unwrap();
        let told = explain(&self.0, RULE, now).pop().unwrap();
        let because = told.because.into_iter().map(place).collect();
        let (by, run_out) = match told.end {
            Some(End::Event(id)) => (Some(place(id)), None),
            Some(End::Time(at)) => (None, Some(at)),
            None => (None, None),
        };
        (told.ground, because, by, run_out)
    }
}

impl From<AccountEvent> for Event {
    fn from(event: AccountEvent) -> Self {
        Self::Account(event)
    }
}

impl From<SessionEvent> for Event {
    fn from(event: SessionEvent) -> Self {
        Self::Session(event)
    }
}

impl From<AttemptEvent> for Event {
    fn from(event: AttemptEvent) -> Self {
        Self::Attempt(event)
    }
}

fn registered() -> Story {
    let credential = CredentialId(Uuid::nil());
    Story::default().then(0, 1, AccountEvent::Registered { locale: Locale::En, credential, profile: None })
}

fn logged_in(device_known: bool) -> SessionEvent {
    SessionEvent::LoggedIn { method: LoginMethod::Password, device: None, device_known, session_epoch: 0 }
}

fn blocked(until: u64) -> AttemptEvent {
    AttemptEvent::LoginBlocked { until: at(until) }
}

fn reason() -> String {
    "asked by phone".to_owned()
}

#[test]
fn a_block_is_explained_by_the_failures_that_filled_the_window_and_ends_by_itself() {
    let story = registered().failed(1, 7).failed(200, 7);
    // The first has left the window, the last two are in the next stretch of it, one is of a device's own count.
    let story =
        story.failed(310, 7).failed(320, 7).failed(330, 8).failed(340, 7).failed(341, 7).then(341, 7, blocked(1241));
    assert_eq!(story.told(at(1240)), (Ground::Blocked, vec![2, 3, 4, 6, 7], None, None));
    assert_eq!(story.told(at(1241)), (Ground::Blocked, vec![2, 3, 4, 6, 7], None, Some(at(1241))));
}

#[test]
fn a_login_forgets_failures_and_an_unlock_lifts_a_block() {
    let story = (1..5).fold(registered(), |story, n| story.failed(n, 7)).then(5, 9, logged_in(false));
    let story = (10..15).fold(story, |story, n| story.failed(n, 7)).then(14, 7, blocked(914));
    let unlocked = AccountEvent::AccountUnlocked { by_reset: false, reason: Some(reason()) };
    let story = story.then(60, 1, unlocked);
    assert_eq!(story.told(at(2000)), (Ground::Blocked, vec![6, 7, 8, 9, 10], Some(12), None));
}

#[test]
fn a_known_device_does_not_forget_what_others_failed() {
    let story = registered().failed(1, 7).failed(2, 7).then(3, 9, logged_in(true)).failed(4, 7);
    assert_eq!(story.told(at(9)), (Ground::WrongPassword, vec![1, 2], None, None));
    assert_eq!(story.then(5, 10, logged_in(true)).told(at(9)), (Ground::WrongPassword, vec![1, 2], Some(5), None));
}

#[test]
fn a_lock_names_the_failures_in_a_row_and_its_unlocking() {
    let story = (0..120).fold(registered(), |story, n| story.failed(n * 1_000, 7 + u128::from(n)));
    let story = story.then(120_000, 1, AccountEvent::AccountLocked { failures: 100 }).failed(120_000, 500);
    let (ground, because, by, _) = story.told(at(130_000));
    assert_eq!((ground, because.len(), by), (Ground::WrongPassword, 0, None), "the last failure itself");
    let locked = &explain(&story.0, RULE, at(130_000))[120];
    assert_eq!((locked.ground, locked.because.len(), locked.end), (Ground::Locked, 100, None));
    assert_eq!(locked.because[99], story.0[122].id);
    let refused = AttemptEvent::LoginFailed { reason: LoginFailure::AccountDisabled };
    let story = story.then(121_000, 501, refused);
    let unlocked = AccountEvent::AccountUnlocked { by_reset: true, reason: None };
    assert_eq!(story.then(122_000, 1, unlocked).told(at(130_000)), (Ground::Locked, vec![121], Some(124), None));
}

#[test]
fn a_refusal_by_the_state_of_the_account_names_what_made_it_so_and_what_ended_that() {
    let refused = |reason| AttemptEvent::LoginFailed { reason };
    let disabled = AccountEvent::AccountDisabled { reason: reason() };
    let story = registered().then(1, 1, disabled).then(2, 7, refused(LoginFailure::AccountDisabled));
    assert_eq!(story.told(at(9)), (Ground::Disabled, vec![1], None, None));
    let story = story.then(3, 1, AccountEvent::AccountEnabled { reason: reason() });
    assert_eq!(story.told(at(9)), (Ground::Disabled, vec![1], Some(3), None));

    let frozen = AccountEvent::AccountFrozenByOwner { token: TokenId(Uuid::nil()), reset: TokenId(Uuid::nil()) };
    let story = registered().then(1, 1, frozen).then(2, 7, refused(LoginFailure::AccountDisabled));
    assert_eq!(story.told(at(9)), (Ground::Frozen, vec![1], None, None));
    // Opened by an admin, its password is good for nothing, for the same reason.
    let story = story.then(3, 1, AccountEvent::AccountEnabled { reason: reason() });
    assert_eq!(story.told(at(9)), (Ground::Frozen, vec![1], Some(3), None));
    let story = story.then(4, 7, refused(LoginFailure::ResetRequired));
    assert_eq!(story.told(at(9)), (Ground::ResetRequired, vec![1], None, None));

    let leaving = AccountEvent::DeletionRequested { token: TokenId(Uuid::nil()), erase_at: at(100) };
    let story = registered().then(1, 1, leaving).then(2, 7, refused(LoginFailure::AccountDisabled));
    assert_eq!(story.told(at(9)), (Ground::Leaving, vec![1], None, None));
    let story = story.then(3, 1, AccountEvent::DeletionCancelled { token: None, reason: Some(reason()) });
    assert_eq!(story.told(at(9)), (Ground::Leaving, vec![1], Some(3), None));

    let story = registered().then(2, 7, refused(LoginFailure::EmailNotVerified));
    let story = story.then(3, 1, AccountEvent::EmailVerified { token: None });
    assert_eq!(story.told(at(9)), (Ground::EmailNotVerified, vec![0], Some(2), None));

    let token = TokenId(Uuid::nil());
    let forced = AccountEvent::PasswordResetForced { token, reason: reason() };
    let story = registered().then(1, 1, forced).then(2, 7, refused(LoginFailure::ResetRequired));
    let reset = AccountEvent::PasswordReset { token, credential: CredentialId(Uuid::nil()), version: 2 };
    assert_eq!(story.then(3, 1, reset).told(at(9)), (Ground::ResetRequired, vec![1], Some(3), None));
}

#[test]
fn a_token_that_came_back_is_explained_by_the_login_that_it_came_from() {
    let reused = SessionEvent::RefreshTokenReused { generation: 2 };
    let story = registered().then(1, 9, logged_in(false)).then(2, 9, reused).then(3, 10, logged_in(false));
    assert_eq!(story.told(at(9)), (Ground::TokenReused, vec![1], Some(3), None));
}
