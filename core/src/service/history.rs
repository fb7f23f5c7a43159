//! An account's own security history.

use super::{Doorbook, Refusal};
use crate::clock::Timestamp;
use crate::event::Personal;
use crate::store::log::{self, StoredEvent};
use crate::value::{AccountId, EventId, SessionId};

/// Most entries of one page.
pub const PAGE_MAX: u32 = 100;

/// One event as its subject sees it.
#[derive(Debug)]
pub struct HistoryEntry {
    pub id: EventId,
    pub name: String,
    pub at: Timestamp,
    pub by_owner: bool,
    pub session: Option<SessionId>,
    pub address: Option<String>,
    pub user_agent: Option<String>,
}

/// The account's own session: the one that an event is about, else the one it was done in. An admin's is not for its subject.
fn session_of(event: &StoredEvent, account: AccountId) -> Option<SessionId> {
    let others = event.actor_id.is_some_and(|actor| actor != account.0);
    match event.kind.as_str() {
        "session" => Some(SessionId(event.stream_id)),
        _ => event.session_id.filter(|_| !others).map(SessionId),
    }
}

impl Doorbook {
    /// Events about the account, newest first, older than `before`.
    pub async fn history(
        &self,
        account: AccountId,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, Refusal> {
        let key = self.vault.account_key(&self.db, account).await?;
        let limit = i64::from(limit.clamp(1, PAGE_MAX));
        let mut entries = Vec::new();
        for event in log::of_subject(&self.db, account, before, limit).await? {
            let personal: Option<Personal> = match (&event.pii, &key) {
                (Some(sealed), Some(key)) if event.pii_key_id == Some(key.id) => {
                    Some(key.key.open_json(event.event_id.0, sealed)?)
                }
                _ => None,
            };
            let (address, user_agent) =
                personal.map(|personal| (personal.address, personal.user_agent)).unwrap_or_default();
            let session = session_of(&event, account);
            entries.push(HistoryEntry {
                id: event.event_id,
                name: event.name,
                at: event.recorded_at,
                by_owner: event.actor_id == Some(account.0),
                session,
                address,
                user_agent,
            });
        }
        Ok(entries)
    }
}
