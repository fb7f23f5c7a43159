//! What accounts leave behind in the course of years, as the service itself would have written it: sessions that begin and end, and
//! guesses that are wrong, sealed with each account's own key. Brought by COPY; `doorbook projections check` finds nothing in it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doorbook_core::attempt::{AttemptEvent, LoginFailure};
use doorbook_core::clock::Timestamp;
use doorbook_core::event::{Actor, Event, Personal};
use doorbook_core::session::{LoginMethod, SessionEvent};
use doorbook_core::store::Db;
use doorbook_core::store::keys::{DataKey, Vault, WrappedKey};
use doorbook_core::store::log::StreamKind;
use doorbook_core::token::keys::RootRing;
use doorbook_core::value::{AccountId, EventId, SessionId};
use serde_json::json;
use sqlx::{FromRow, PgPool, Postgres, Transaction};
use uuid::Uuid;

/// Accounts of one transaction: a longer one would stall the sealer.
const CHUNK: i64 = 2_000;

/// How long a session could have been refreshed.
const LASTING: Duration = Duration::from_hours(7 * 24);

/// What an account does, again and again.
const LIFE: [Deed; 6] = [Deed::Visit, Deed::Visit, Deed::Guess, Deed::Visit, Deed::Visit, Deed::Guess];

#[derive(Clone, Copy)]
enum Deed {
    /// A login, and its end.
    Visit,
    /// A wrong password.
    Guess,
}

#[derive(FromRow)]
struct Owner {
    account_id: Uuid,
    session_epoch: i64,
    key_id: Uuid,
    wrapped: Vec<u8>,
    wrapped_by: String,
}

/// Spreads so many events over all accounts, as evenly as can be.
pub async fn bring(superuser: &PgPool, secret_key: &str, events: i64) -> Result<()> {
    let roots = RootRing::new(secret_key.as_bytes(), &[]);
    let root = roots.current_id().to_owned();
    let db = Db::from(superuser.clone());
    let vault = Vault::open(&db, roots).await.context("cannot open the keys")?;
    let accounts: i64 = sqlx::query_scalar("select count(*) from accounts").fetch_one(superuser).await?;
    ensure!(accounts > 0, "nobody is there whose life it could be");
    let until = |number: i64| i128::from(number) * i128::from(events) / i128::from(accounts);
    let (mut after, mut number) = (Uuid::nil(), 0);
    loop {
        let mut tx = superuser.begin().await?;
        let now: Timestamp = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *tx).await?;
        let owners = owners(&mut tx, after).await?;
        let Some(last) = owners.last() else { return Ok(()) };
        after = last.account_id;
        let mut rows = Rows::default();
        for owner in owners {
            let id = AccountId(owner.account_id);
            let sealed = WrappedKey { id: owner.key_id, wrapped: owner.wrapped, wrapped_by: owner.wrapped_by };
            let key = vault.open_data_key(&db, &sealed).await?;
            let share = i64::try_from(until(number + 1) - until(number))?;
            number += 1;
            let life = Life { id, epoch: owner.session_epoch, key, root: &root, from: format!("10.{}", tail(number)) };
            life.live(share, now, &mut rows)?;
        }
        rows.write(&mut tx).await.context("cannot append events")?;
        tx.commit().await?;
    }
}

/// Three numbers of an address, from one.
fn tail(number: i64) -> String {
    format!("{}.{}.{}", number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff)
}

async fn owners(tx: &mut Transaction<'_, Postgres>, after: Uuid) -> Result<Vec<Owner>> {
    let sql = "select a.account_id, s.session_epoch, k.key_id, k.wrapped, k.wrapped_by
               from accounts a join streams s on s.stream_id = a.account_id join keys.data_keys k on k.account_id = a.account_id
               where a.account_id > $1 order by a.account_id limit $2 for update of s";
    Ok(sqlx::query_as(sql).bind(after).bind(CHUNK).fetch_all(&mut **tx).await?)
}

struct Life<'a> {
    id: AccountId,
    epoch: i64,
    key: DataKey,
    root: &'a str,
    from: String,
}

/// Where an event stands.
struct Place {
    id: EventId,
    stream: Uuid,
    version: i64,
    session: Option<Uuid>,
}

impl Life<'_> {
    /// Adds what comes to so many events: one each millisecond, the last one now.
    fn live(&self, events: i64, now: Timestamp, rows: &mut Rows) -> Result<()> {
        let (guesses, mut wrong) = (Uuid::new_v5(&self.id.0, now.rfc3339().as_bytes()), 0);
        let (mut logins, mut last_login) = (0, None);
        let mut deeds = LIFE.into_iter().cycle();
        let mut left = events;
        let at = |left: i64| now.minus(Duration::from_millis(left.unsigned_abs()));
        while left > 0
            && let Some(deed) = deeds.next()
        {
            left -= 1;
            match deed {
                Deed::Guess => {
                    wrong += 1;
                    let place = Place { id: EventId::new(at(left)), stream: guesses, version: wrong, session: None };
                    let event = Event::Attempt(AttemptEvent::LoginFailed { reason: LoginFailure::WrongPassword });
                    self.event(&place, &event, Actor::Stranger, rows)?;
                }
                Deed::Visit => {
                    let id = EventId::new(at(left));
                    (logins, last_login) = (logins + 1, Some(id.at()));
                    let ends = if left > 0 { Some(EventId::new(at(left - 1))) } else { None };
                    left -= i64::from(ends.is_some());
                    self.visit(id, ends, rows)?;
                }
            }
        }
        if wrong > 0 {
            rows.stream(guesses, StreamKind::Attempts, None, wrong);
        }
        if let Some(at) = last_login {
            rows.accounts.push(self.id.0);
            rows.logins.push(logins);
            rows.last_logins.push(at);
        }
        Ok(())
    }

    /// A session that begins with this event, and ends with the other.
    fn visit(&self, begins: EventId, ends: Option<EventId>, rows: &mut Rows) -> Result<()> {
        let (session, at) = (SessionId::new(begins.at()).0, begins.at());
        let event = SessionEvent::LoggedIn {
            method: LoginMethod::Password,
            device: None,
            device_known: false,
            session_epoch: self.epoch,
        };
        let place = Place { id: begins, stream: session, version: 1, session: Some(session) };
        self.event(&place, &Event::Session(event), Actor::Account(self.id), rows)?;
        if let Some(id) = ends {
            let place = Place { id, version: 2, ..place };
            self.event(&place, &Event::Session(SessionEvent::LoggedOut), Actor::Account(self.id), rows)?;
        }
        rows.stream(session, StreamKind::Session, Some(self.id), if ends.is_some() { 2 } else { 1 });
        let origin = json!({ "at": at, "address": self.from, "user_agent": AGENT });
        let origin = hex(&self.key.key.seal_json(session, &origin)?);
        let (revoked_at, reason) = ends.map_or((NULL.to_owned(), NULL), |id| (id.at().rfc3339(), "logged_out"));
        let (account, epoch, root, salt) = (self.id, self.epoch, self.root, hex(SessionId::new(at).0.as_bytes()));
        let (begun, end) = (at.rfc3339(), at.plus(LASTING).rfc3339());
        writeln!(
            rows.sessions,
            "{session}\t{account}\t{epoch}\t1\t{root}\t{salt}\t{origin}\t{begun}\t{begun}\t{begun}\t{end}\t{revoked_at}\t{reason}"
        )?;
        Ok(())
    }

    fn event(&self, place: &Place, event: &Event, actor: Actor, rows: &mut Rows) -> Result<()> {
        let personal =
            Personal { address: Some(self.from.clone()), user_agent: Some(AGENT.to_owned()), ..Personal::default() };
        let (name, payload) = event.stored();
        let class = event.retention_class().as_str();
        let (account, trace, kind) = (self.id, EventId::new(place.id.at()).0, actor.kind());
        let pii = hex(&self.key.key.seal_json(place.id.0, &personal)?);
        let [actor, session] = [actor.id(), place.session].map(|id| id.map_or(NULL.to_owned(), |id| id.to_string()));
        let (id, stream, version, key) = (place.id, place.stream, place.version, self.key.id);
        writeln!(
            rows.events,
            "{id}\t{class}\t{stream}\t{version}\t{name}\t{account}\t{payload}\t{pii}\t{key}\t{kind}\t{actor}\t{session}\t{trace}\t{trace}"
        )?;
        Ok(())
    }
}

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// What COPY reads as no value.
const NULL: &str = "\\N";

/// Bytes as COPY reads them.
fn hex(bytes: &[u8]) -> String {
    let mut text = "\\\\x".to_owned();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Rows of one transaction, as COPY reads them, and what changes in those of the accounts.
#[derive(Default)]
struct Rows {
    events: String,
    streams: String,
    sessions: String,
    accounts: Vec<Uuid>,
    logins: Vec<i64>,
    last_logins: Vec<Timestamp>,
}

impl Rows {
    fn stream(&mut self, id: Uuid, kind: StreamKind, subject: Option<AccountId>, version: i64) {
        let subject = subject.map_or(NULL.to_owned(), |account| account.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(self.streams, "{id}\t{}\t{subject}\t{version}", kind.as_str());
    }

    async fn write(self, tx: &mut Transaction<'_, Postgres>) -> Result<()> {
        for (table, rows) in [
            ("streams (stream_id, kind, subject_id, version)", self.streams),
            (
                "events (event_id, retention_class, stream_id, version, type, subject_id, payload, pii, pii_key_id, actor_kind, actor_id,
                         session_id, trace_id, correlation_id)",
                self.events,
            ),
            (
                "sessions (session_id, account_id, session_epoch, generation, key_id, salt, origin, created_at, rotated_at, last_used_at,
                           absolute_end, revoked_at, revoked_reason)",
                self.sessions,
            ),
        ] {
            let mut copy = tx.copy_in_raw(&format!("copy {table} from stdin")).await?;
            copy.send(rows.into_bytes()).await?;
            copy.finish().await?;
        }
        sqlx::query(
            "with new as (select * from unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) n(account, logins, at)),
                  s as (update streams set logins = streams.logins + n.logins from new n where stream_id = n.account)
             update accounts set last_login_at = greatest(last_login_at, n.at) from new n where account_id = n.account",
        )
        .bind(self.accounts)
        .bind(self.logins)
        .bind(self.last_logins)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}
