//! The caller's sessions.

use doorbook_core::value::SessionId;
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::input::{Asked, command};
use super::{Chapter, Done};
use crate::auth::Signed;
use crate::problem::Problem;

pub struct Sessions;

#[derive(Object)]
pub struct SessionAnswer {
    id: uuid::Uuid,
    /// What the client called itself when it logged in.
    device: Option<String>,
    /// Whether the device was remembered.
    device_remembered: bool,
    /// Client address of the login.
    address: Option<String>,
    /// RFC 3339, UTC.
    created_at: String,
    last_used_at: String,
    /// When the session ends whatever happens.
    expires_at: String,
    /// Whether it is the one that asks.
    current: bool,
}

#[derive(Object)]
pub struct SessionsAnswer {
    /// Live sessions, newest first.
    sessions: Vec<SessionAnswer>,
}

#[OpenApi(tag = "Chapter::Sessions")]
impl Sessions {
    /// List sessions
    #[oai(path = "/api/auth/sessions/", method = "get", operation_id = "list_sessions")]
    async fn list(&self, signed: Signed, asked: Asked) -> Result<Json<SessionsAnswer>, Problem> {
        let views = asked.doorbook.list_sessions(signed.0).await?;
        let sessions = views
            .into_iter()
            .map(|view| SessionAnswer {
                id: view.id.0,
                device: view.user_agent,
                device_remembered: view.device_remembered,
                address: view.address,
                created_at: view.created_at.rfc3339(),
                last_used_at: view.last_used_at.rfc3339(),
                expires_at: view.expires_at.rfc3339(),
                current: view.id == signed.0.session,
            })
            .collect();
        Ok(Json(SessionsAnswer { sessions }))
    }

    /// End a session
    ///
    /// Somebody else's session is answered like one that does not exist.
    #[oai(path = "/api/auth/sessions/:id/", method = "delete", operation_id = "end_session")]
    async fn end(
        &self,
        signed: Signed,
        asked: Asked,
        #[oai(name = "Idempotency-Key", validator(max_length = 255))] key: Header<Option<String>>,
        id: Path<uuid::Uuid>,
    ) -> Result<Done, Problem> {
        let header = asked.idempotency(key.0, &[])?;
        command(async move {
            let context = asked.context.acting(signed.0.account);
            asked.doorbook.revoke_session(signed.0, SessionId(id.0), header.as_ref(), &context).await
        })
        .await?;
        Ok(Done::NoContent)
    }
}
