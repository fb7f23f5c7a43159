//! The account's own security history.

use doorbook_core::service::history::PAGE_MAX;
use doorbook_core::value::EventId;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::Chapter;
use super::input::Asked;
use crate::auth::Signed;
use crate::problem::Problem;

pub struct History;

/// Entries of a page when none are asked for.
const PAGE_DEFAULT: u32 = 50;

#[derive(Object)]
pub struct EventAnswer {
    id: uuid::Uuid,
    /// Name of the event, such as `LoggedIn`.
    #[oai(rename = "type")]
    name: String,
    /// RFC 3339, UTC, by the database's clock.
    at: String,
    /// Whether the account itself did it.
    by_owner: bool,
    session_id: Option<uuid::Uuid>,
    address: Option<String>,
    device: Option<String>,
}

#[derive(Object)]
pub struct HistoryAnswer {
    /// Newest first.
    events: Vec<EventAnswer>,
    /// Give it as `before` for the next page; absent on the last.
    #[oai(skip_serializing_if_is_none)]
    next: Option<uuid::Uuid>,
}

#[OpenApi(tag = "Chapter::Accounts")]
impl History {
    /// Read the security history
    #[oai(path = "/api/auth/events/", method = "get", operation_id = "list_events")]
    async fn list(
        &self,
        signed: Signed,
        asked: Asked,
        /// `next` of the page before.
        before: Query<Option<uuid::Uuid>>,
        /// Entries a page, 1 to 100.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<HistoryAnswer>, Problem> {
        let limit = limit.0.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX);
        let entries = asked.doorbook.history(signed.0.account, before.0.map(EventId), limit).await?;
        let full = entries.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = entries.last().filter(|_| full).map(|entry| entry.id.0);
        let events = entries
            .into_iter()
            .map(|entry| EventAnswer {
                id: entry.id.0,
                name: entry.name,
                at: entry.at.rfc3339(),
                by_owner: entry.by_owner,
                session_id: entry.session.map(|session| session.0),
                address: entry.address,
                device: entry.user_agent,
            })
            .collect();
        Ok(Json(HistoryAnswer { events, next }))
    }
}
