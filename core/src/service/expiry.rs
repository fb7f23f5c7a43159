//! What time has ended becomes an event. Nothing depends on it: time is checked at use.

use super::append::Batch;
use super::{Context, Doorbook, Refusal};
use crate::account::{Command, Status, decide};
use crate::event::{Actor, Event};
use crate::session::SessionEvent;
use crate::store::StoreError;
use crate::store::project::tokens::TokenKind;
use crate::store::query::tokens::TokenRow;
use crate::store::query::{accounts, sessions, tokens};
use crate::value::{ClientOrigin, StreamId};

/// Rows looked at in one run; the job comes back for more.
const BATCH: i64 = 500;
/// So many rows in a row for which Postgres has no answer: it is away, and they are not to blame.
const UNHEARD_MAX: usize = 3;

impl Context {
    /// What the system does by itself.
    pub fn system(trace: uuid::Uuid) -> Self {
        let nowhere = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        Self { origin: ClientOrigin::new(nowhere, "", trace), actor: Actor::System }
    }
}

impl Doorbook {
    /// Appends the expiry events that are due; how many rows were closed. Several workers may do so at once: each row is
    /// closed by one. An account that cannot be read, or takes longer than a statement may, keeps its own rows, told as an error, and holds
    /// nobody else's up.
    pub async fn expire(&self, context: &Context) -> Result<usize, Refusal> {
        let (mut closed, mut broken, mut unheard) = (0, None, 0);
        for row in tokens::run_out(&self.db, BATCH).await? {
            match won(self.run_out(&row, context).await) {
                Err(error @ (Refusal::Internal(_) | Refusal::Unavailable(_))) if unheard < UNHEARD_MAX => {
                    tracing::error!(token = %row.token_id, account = %row.account_id, %error, "the end of a link cannot be recorded");
                    unheard = if matches!(error, Refusal::Internal(_)) { 0 } else { unheard + 1 };
                    broken.get_or_insert(error);
                }
                outcome => (closed, unheard) = (closed + usize::from(outcome?), 0),
            }
        }
        for (session, account, version) in sessions::run_out(&self.db, BATCH).await? {
            let mut batch = Batch::new(context, self.now());
            let stream = StreamId(session.0);
            batch.write.extend_stream(stream, version, 1);
            batch.event(
                stream,
                version + 1,
                Some(account),
                Some(session),
                Event::Session(SessionEvent::SessionExpired),
                None,
            )?;
            batch.write.end_session(session, "expired", batch.now);
            closed += usize::from(won(batch.commit(self).await.map_err(Refusal::from))?);
        }
        match broken {
            Some(error) if closed == 0 => Err(error),
            _ => Ok(closed),
        }
    }

    async fn run_out(&self, row: &TokenRow, context: &Context) -> Result<(), Refusal> {
        if row.kind == TokenKind::Cancel.as_str() && self.end_grace(row, context).await? {
            return Ok(());
        }
        self.expire_token(row, context).await
    }

    async fn expire_token(&self, row: &TokenRow, context: &Context) -> Result<(), Refusal> {
        let token = row.token_id;
        let command = match TokenKind::parse(&row.kind) {
            Some(TokenKind::Reset) => Some(Command::ExpireReset { token }),
            Some(TokenKind::Verify) => Some(Command::ExpireVerification { token }),
            Some(TokenKind::Change) => Some(Command::ExpireEmailChange { token }),
            // The end of a time to undo is no event of its own: the change named it. So did the request of a deletion. A notice that nobody
            // has answered is none either.
            Some(TokenKind::Undo | TokenKind::Cancel | TokenKind::NotMe) | None => None,
        };
        // A link that was asked for beside an erasure is of nobody any more.
        let owner = accounts::by_id(&self.db, &self.vault, row.account_id).await?;
        let owner = owner.filter(|owner| owner.account.status != Status::Erased);
        let mut batch = Batch::new(context, self.now());
        if let (Some(owner), Some(command)) = (&owner, command) {
            batch.account(owner, decide(&owner.account, command)?, None)?;
        }
        batch.write.expire_token(token, row.now);
        Ok(batch.commit(self).await?)
    }
}

/// A row that somebody else has closed or used meanwhile is no error.
fn won(result: Result<(), Refusal>) -> Result<bool, Refusal> {
    match result {
        Ok(()) => Ok(true),
        Err(Refusal::Unavailable(StoreError::Conflict)) => Ok(false),
        Err(error) => Err(error),
    }
}
