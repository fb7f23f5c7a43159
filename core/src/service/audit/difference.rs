//! What has changed about an account between two times, and which events changed it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::past::{self, Awaited, EventRef, Happened, Moment, Pending};
use super::{Caller, Context, Doorbook, Refusal, Sight, fault};
use crate::account::AccountEvent;
use crate::clock::Timestamp;
use crate::operator::OperatorEvent;
use crate::store::past as store;
use crate::store::rebuild::fold::Replay;
use crate::value::{AccountId, SessionId};

/// Most events of sessions that are looked at for what ended them.
const ENDINGS_MAX: i64 = 5_000;

/// One field that is not what it was. Values are text; times in RFC 3339.
#[derive(Debug)]
pub struct Change {
    pub field: &'static str,
    pub before: Option<String>,
    pub after: Option<String>,
    /// What it was and became has been erased.
    pub erased: bool,
    /// The events that changed it, the first first.
    pub events: Vec<EventRef>,
}

#[derive(Debug)]
pub struct Difference {
    pub from: Timestamp,
    pub to: Timestamp,
    pub changes: Vec<Change>,
}

/// A field of the state: what it is, and what a caller may see of it.
struct Field {
    name: &'static str,
    value: Option<String>,
    shown: Option<String>,
}

impl Doorbook {
    /// What has changed about an account after `from` until `to`. That it was looked at is an event.
    pub async fn account_difference(
        &self,
        caller: Caller,
        account: AccountId,
        from: Timestamp,
        to: Timestamp,
        context: &Context,
    ) -> Result<Difference, Refusal> {
        if from > to {
            return Err(fault("to", "must not lie before the other time"));
        }
        let story = self.story(account, to).await?;
        let fields = ["difference", "from", "to"].map(str::to_owned).to_vec();
        self.note(caller, Some(account), OperatorEvent::AuditSearched { fields }, context).await?;
        let sight = self.sight(caller).await?;
        let (before, after) = (self.moment(account, &story, from).await?, self.moment(account, &story, to).await?);
        let later = &story[past::until(&story, from).len()..];
        let touched = touched(account, &story, later.len())?;
        let mut changes = Vec::new();
        for (old, new) in fields_of(&before, sight).into_iter().zip(fields_of(&after, sight)) {
            if old.value != new.value {
                let events = touched.get(new.name).cloned().unwrap_or_default();
                changes.push(Change { field: new.name, before: old.shown, after: new.shown, erased: false, events });
            }
        }
        changes.extend(erased(later));
        changes.extend(blocks(&before, &after, later));
        changes.extend(self.sessions_changed(&before, &after, later, from).await?);
        Ok(Difference { from, to, changes })
    }

    /// Sessions that live at one of the two times only.
    async fn sessions_changed(
        &self,
        before: &Moment,
        after: &Moment,
        later: &[Happened],
        from: Timestamp,
    ) -> Result<Vec<Change>, Refusal> {
        let lives = |moment: &Moment, id: SessionId| moment.sessions.iter().any(|session| session.id == id);
        let change = |before: Option<SessionId>, after: Option<SessionId>, events| Change {
            field: "session",
            before: before.map(|id| id.to_string()),
            after: after.map(|id| id.to_string()),
            erased: false,
            events,
        };
        let ended: Vec<_> = before.sessions.iter().filter(|session| !lives(after, session.id)).collect();
        let streams: Vec<Uuid> = ended.iter().map(|session| session.id.0).collect();
        let own = store::of_streams(&self.db, &streams, ENDINGS_MAX).await?;
        let mut changes = Vec::new();
        for session in ended {
            let own = own.iter().filter(|event| event.stream_id == session.id.0 && event.recorded_at > from);
            let mut events: Vec<_> = own.map(EventRef::of).collect();
            if events.is_empty() {
                let ends = |it: &&Happened| it.event.ends_sessions().is_some_and(|spared| spared != Some(session.id));
                events.extend(later.iter().find(ends).map(|it| EventRef::of(&it.sealed)));
            }
            changes.push(change(Some(session.id), None, events));
        }
        for session in after.sessions.iter().filter(|session| !lives(before, session.id)) {
            changes.push(change(None, Some(session.id), vec![session.begun.clone()]));
        }
        Ok(changes)
    }
}

/// Which of the last `later` events changed which field.
fn touched(
    account: AccountId,
    story: &[Happened],
    later: usize,
) -> Result<BTreeMap<&'static str, Vec<EventRef>>, Refusal> {
    let mut touched: BTreeMap<_, Vec<EventRef>> = BTreeMap::new();
    let mut replay = Replay::default();
    let first = story.len() - later;
    let mut before = Vec::new();
    for (place, happened) in story.iter().enumerate() {
        if place == first {
            before = own_fields(
                &replay,
                &past::pending(&replay, &story[..place], happened.sealed.recorded_at),
                Sight::Plain,
            );
        }
        past::step(&mut replay, account, happened)?;
        if place >= first {
            let pending = past::pending(&replay, &story[..=place], happened.sealed.recorded_at);
            let after = own_fields(&replay, &pending, Sight::Plain);
            for (old, new) in before.iter().zip(&after) {
                if old.value != new.value {
                    touched.entry(new.name).or_default().push(EventRef::of(&happened.sealed));
                }
            }
            before = after;
        }
    }
    Ok(touched)
}

fn fields_of(moment: &Moment, sight: Sight) -> Vec<Field> {
    own_fields(&moment.replay, &moment.pending, sight)
}

/// All fields that the account's own events make, in a fixed order.
fn own_fields(replay: &Replay, pending: &[Pending], sight: Sight) -> Vec<Field> {
    let account = &replay.account;
    let (plain, shown) = (past::shown(account, Sight::Plain), past::shown(account, sight));
    let personal = |name, value, shown| Field { name, value, shown };
    let open = |name, value: Option<String>| Field { name, shown: value.clone(), value };
    let time = |name, at: Option<Timestamp>| open(name, at.map(Timestamp::rfc3339));
    let roles: Vec<_> = account.roles.iter().map(|role| role.as_str()).collect();
    let awaited = |what| pending.iter().find(|pending| pending.what == what);
    let since = |name, what| time(name, awaited(what).map(|pending| pending.since));
    let new_email = awaited(Awaited::EmailChange).and_then(|pending| pending.new_email.clone());
    vec![
        open("status", Some(account.status.as_str().to_owned())),
        personal("email", plain.email, shown.email),
        personal("first_name", plain.first_name, shown.first_name),
        personal("last_name", plain.last_name, shown.last_name),
        time("email_verified_at", account.email_verified_at),
        open("locale", account.locale.map(|locale| locale.as_str().to_owned())),
        open("roles", Some(roles.join(", "))),
        time("locked_at", account.locked_at),
        time("reset_required_at", account.reset_required_at),
        time("created_at", account.created_at),
        time("password_changed_at", account.password_changed_at),
        since("verification_pending_since", Awaited::Verification),
        since("reset_pending_since", Awaited::Reset),
        since("email_change_pending_since", Awaited::EmailChange),
        personal("email_change_pending_to", new_email.clone(), past::masked(new_email, sight)),
        since("email_change_undo_since", Awaited::EmailChangeUndo),
        since("deletion_since", Awaited::Deletion),
    ]
}

/// What events say that they changed, though to what has been erased.
fn erased(later: &[Happened]) -> Vec<Change> {
    let mut changes: BTreeMap<&'static str, Vec<EventRef>> = BTreeMap::new();
    for happened in later {
        let fields: &[_] = match &happened.event {
            AccountEvent::Registered { profile: None, .. } | AccountEvent::AccountImported { profile: None, .. } => {
                &["email", "first_name", "last_name"]
            }
            AccountEvent::EmailChanged { profile: None, .. }
            | AccountEvent::EmailChangeUndone { profile: None, .. } => &["email"],
            AccountEvent::ProfileUpdated { profile: None, .. } => &["first_name", "last_name"],
            _ => &[],
        };
        for field in fields {
            changes.entry(field).or_default().push(EventRef::of(&happened.sealed));
        }
    }
    let change = |(field, events)| Change { field, before: None, after: None, erased: true, events };
    changes.into_iter().map(change).collect()
}

/// A block that holds at one of the two times only, or another one.
fn blocks(before: &Moment, after: &Moment, later: &[Happened]) -> Option<Change> {
    let until = |moment: &Moment| moment.block.as_ref().map(|(until, _)| *until);
    if until(before) == until(after) {
        return None;
    }
    let lifts =
        |it: &&Happened| matches!(it.event, AccountEvent::AccountUnlocked { .. } | AccountEvent::PasswordReset { .. });
    let events = match &after.block {
        Some((_, since)) => vec![since.clone()],
        None => later.iter().find(lifts).map(|it| EventRef::of(&it.sealed)).into_iter().collect(),
    };
    let text = |moment| until(moment).map(Timestamp::rfc3339);
    Some(Change { field: "blocked_until", before: text(before), after: text(after), erased: false, events })
}
