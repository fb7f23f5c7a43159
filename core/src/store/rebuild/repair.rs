//! Writes what the events of some accounts come to over what their live rows say: a statement a table, a column an array. Runs under
//! the accounts' guards, so nothing moves meanwhile. Kept columns stay as they are: a row that needs one to be made again cannot be,
//! and remains a difference.

use uuid::Uuid;

use super::Case;
use super::compare::Opened;
use super::fold::Replay;
use crate::clock::Timestamp;
use crate::store::{StoreError, Tx};
use crate::value::{AccountId, Locale};

/// The rows as they shall be.
#[derive(Default)]
pub(super) struct Repairs {
    accounts: Accounts,
    emails: Emails,
    credentials: Credentials,
    sessions: Sessions,
    tokens: Tokens,
    devices: Devices,
    streams: Streams,
}

#[derive(Default)]
struct Accounts {
    id: Vec<Uuid>,
    profile: Vec<Option<Vec<u8>>>,
    locale: Vec<String>,
    status: Vec<String>,
    /// Names with commas between them: an array of arrays has rows of one length.
    roles: Vec<String>,
    email_verified_at: Vec<Option<Timestamp>>,
    locked_at: Vec<Option<Timestamp>>,
    created_at: Vec<Timestamp>,
    password_changed_at: Vec<Option<Timestamp>>,
    last_login_at: Vec<Option<Timestamp>>,
    reset_required_at: Vec<Option<Timestamp>>,
    erase_at: Vec<Option<Timestamp>>,
}

#[derive(Default)]
struct Emails {
    account: Vec<Uuid>,
    /// `None`: it has no address any more.
    key: Vec<Option<Vec<u8>>>,
    lookup_key_id: String,
}

#[derive(Default)]
struct Credentials {
    account: Vec<Uuid>,
    id: Vec<Uuid>,
    version: Vec<i32>,
    updated_at: Vec<Timestamp>,
}

#[derive(Default)]
struct Sessions {
    id: Vec<Uuid>,
    epoch: Vec<i64>,
    device: Vec<Option<Uuid>>,
    origin: Vec<Option<Vec<u8>>>,
    created_at: Vec<Timestamp>,
    revoked_at: Vec<Option<Timestamp>>,
    revoked_reason: Vec<Option<String>>,
}

#[derive(Default)]
struct Tokens {
    id: Vec<Uuid>,
    kind: Vec<String>,
    state: Vec<String>,
    created_at: Vec<Timestamp>,
}

#[derive(Default)]
struct Devices {
    id: Vec<Uuid>,
    created_at: Vec<Timestamp>,
}

#[derive(Default)]
struct Streams {
    id: Vec<Uuid>,
    kind: Vec<String>,
    subject: Vec<Uuid>,
    version: Vec<i64>,
    epoch: Vec<i64>,
    logins: Vec<i64>,
}

impl Repairs {
    /// Adds an account that differs.
    pub(super) fn add(&mut self, id: AccountId, case: &Case, opened: Opened) -> Result<(), StoreError> {
        // Rows without a registration are not ours to judge: what they would be made of is missing.
        let Some(created_at) = case.replay.account.created_at else { return Ok(()) };
        self.accounts.add(id, case, &opened, created_at)?;
        self.credentials.add(id, &case.replay);
        self.sessions.add(case, &opened)?;
        self.tokens.add(case);
        self.devices.add(case);
        self.streams.add(id, &case.replay);
        self.emails.account.push(id.0);
        self.emails.key.push(opened.email_key.map(Vec::from));
        self.emails.lookup_key_id = opened.lookup_key_id;
        Ok(())
    }

    pub(super) async fn write(&self, db: &mut Tx) -> Result<(), StoreError> {
        self.accounts.write(&mut *db).await?;
        self.emails.write(&mut *db).await?;
        self.credentials.write(&mut *db).await?;
        self.sessions.write(&mut *db).await?;
        self.tokens.write(&mut *db).await?;
        self.devices.write(&mut *db).await?;
        self.streams.write(db).await
    }
}

impl Accounts {
    fn add(&mut self, id: AccountId, case: &Case, opened: &Opened, created_at: Timestamp) -> Result<(), StoreError> {
        let account = &case.replay.account;
        let roles: Vec<&str> = account.roles.iter().map(|role| role.as_str()).collect();
        let profile = match (&account.profile, &case.key) {
            (Some(profile), _) if opened.profile.as_ref() == Some(profile) => {
                case.live.account.as_ref().and_then(|row| row.profile.clone())
            }
            (Some(profile), Some(key)) => Some(key.key.seal_json(id.0, profile)?),
            _ => None,
        };
        self.id.push(id.0);
        self.profile.push(profile);
        self.locale.push(account.locale.map_or("en", Locale::as_str).to_owned());
        self.status.push(account.status.as_str().to_owned());
        self.roles.push(roles.join(","));
        self.email_verified_at.push(account.email_verified_at);
        self.locked_at.push(account.locked_at);
        self.created_at.push(created_at);
        self.password_changed_at.push(account.password_changed_at);
        self.last_login_at.push(case.replay.last_login_at);
        self.reset_required_at.push(account.reset_required_at);
        self.erase_at.push(account.erase_at);
        Ok(())
    }

    async fn write(&self, db: &mut Tx) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into accounts (account_id, profile, locale, status, roles, email_verified_at, locked_at, created_at,
                                   password_changed_at, last_login_at, reset_required_at, erase_at)
             select id, profile, locale, status, string_to_array(roles, ','), verified, locked, created, changed, last_login, reset_required,
                    erase
             from unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
                         $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[])
                  as r(id, profile, locale, status, roles, verified, locked, created, changed, last_login, reset_required, erase)
             on conflict (account_id) do update set profile = excluded.profile, locale = excluded.locale, status = excluded.status,
                 roles = excluded.roles, email_verified_at = excluded.email_verified_at, locked_at = excluded.locked_at,
                 created_at = excluded.created_at, password_changed_at = excluded.password_changed_at,
                 last_login_at = excluded.last_login_at, reset_required_at = excluded.reset_required_at,
                 erase_at = excluded.erase_at",
            &self.id,
            &self.profile as &[Option<Vec<u8>>],
            &self.locale,
            &self.status,
            &self.roles,
            &self.email_verified_at as &[Option<Timestamp>],
            &self.locked_at as &[Option<Timestamp>],
            &self.created_at as &[Timestamp],
            &self.password_changed_at as &[Option<Timestamp>],
            &self.last_login_at as &[Option<Timestamp>],
            &self.reset_required_at as &[Option<Timestamp>],
            &self.erase_at as &[Option<Timestamp>]
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Emails {
    /// An address that has passed to another account stays there. Rows of a key that is on its way in are made by the change of keys.
    async fn write(&self, db: &mut Tx) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from account_emails e using unnest($1::uuid[], $2::bytea[]) as r(id, key)
             where e.account_id = r.id and e.state = 'current' and e.key_id = $3 and e.email_key is distinct from r.key",
            &self.account,
            &self.key as &[Option<Vec<u8>>],
            self.lookup_key_id
        )
        .execute(&mut *db)
        .await?;
        sqlx::query!(
            "insert into account_emails as e (email_key, key_id, account_id, state)
             select distinct on (key) key, $3, id, 'current' from unnest($1::uuid[], $2::bytea[]) as r(id, key)
             where key is not null order by key, id
             on conflict (email_key) do update set state = 'current', reserved_until = null where e.account_id = excluded.account_id",
            &self.account,
            &self.key as &[Option<Vec<u8>>],
            self.lookup_key_id
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Credentials {
    fn add(&mut self, id: AccountId, replay: &Replay) {
        let (Some(credential), Some(at)) = (replay.account.credential, replay.credential_at) else { return };
        self.account.push(id.0);
        self.id.push(credential.id.0);
        self.version.push(i32::try_from(credential.version).unwrap_or(i32::MAX));
        self.updated_at.push(at);
    }

    async fn write(&self, db: &mut Tx) -> Result<(), StoreError> {
        sqlx::query!(
            "update credentials c set credential_id = r.id, version = r.version, updated_at = r.updated
             from unnest($1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[]) as r(account, id, version, updated)
             where c.account_id = r.account and c.kind = 'password'",
            &self.account,
            &self.id,
            &self.version,
            &self.updated_at as &[Timestamp]
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Sessions {
    fn add(&mut self, case: &Case, opened: &Opened) -> Result<(), StoreError> {
        for (live, origin) in case.live.sessions.iter().zip(&opened.origins) {
            let Some(replayed) = case.replay.sessions.get(&live.session_id) else { continue };
            let fate = case.replay.fate(live.session_id, replayed);
            let mark = live.revoked_at.zip(live.revoked_reason.as_deref());
            let marks: Vec<_> = fate.ends.iter().map(|end| end.map(|end| (end.at, end.reason.as_str()))).collect();
            let mark = if marks.contains(&mark) { mark } else { marks.first().copied().flatten() };
            let sealed = match (&replayed.origin, &case.key) {
                (Some(_), _) if origin.as_ref() == replayed.origin.as_ref() => live.origin.clone(),
                (Some((address, user_agent)), Some(key)) => {
                    let origin = serde_json::json!({ "address": address, "user_agent": user_agent });
                    Some(key.key.seal_json(live.session_id.0, &origin)?)
                }
                _ => None,
            };
            self.id.push(live.session_id.0);
            self.epoch.push(fate.epoch);
            self.device.push(replayed.device.map(|device| device.0));
            self.origin.push(sealed);
            self.created_at.push(replayed.created_at);
            self.revoked_at.push(mark.map(|(at, _)| at));
            self.revoked_reason.push(mark.map(|(_, reason)| reason.to_owned()));
        }
        Ok(())
    }

    async fn write(&self, db: &mut Tx) -> Result<(), StoreError> {
        sqlx::query!(
            "update sessions s set session_epoch = r.epoch, device_id = r.device, origin = r.origin, created_at = r.created,
                    revoked_at = r.revoked, revoked_reason = r.reason
             from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bytea[], $5::timestamptz[], $6::timestamptz[], $7::text[])
                  as r(id, epoch, device, origin, created, revoked, reason)
             where s.session_id = r.id",
            &self.id,
            &self.epoch,
            &self.device as &[Option<Uuid>],
            &self.origin as &[Option<Vec<u8>>],
            &self.created_at as &[Timestamp],
            &self.revoked_at as &[Option<Timestamp>],
            &self.revoked_reason as &[Option<String>]
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Tokens {
    fn add(&mut self, case: &Case) {
        for live in &case.live.tokens {
            let Some(replayed) = case.replay.tokens.get(&live.token_id) else { continue };
            if replayed.was_voided_unseen(live.state.as_str()) {
                continue;
            }
            self.id.push(live.token_id.0);
            self.kind.push(replayed.kind.as_str().to_owned());
            self.state.push(replayed.state.as_str().to_owned());
            self.created_at.push(replayed.created_at.unwrap_or(live.created_at));
        }
    }

    async fn write(&self, db: &mut Tx) -> Result<(), StoreError> {
        sqlx::query!(
            "update tokens t set kind = r.kind, state = r.state, created_at = r.created,
                    closed_at = case when r.state = 'open' then null else coalesce(closed_at, clock_timestamp()) end
             from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) as r(id, kind, state, created)
             where t.token_id = r.id",
            &self.id,
            &self.kind,
            &self.state,
            &self.created_at as &[Timestamp]
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Devices {
    fn add(&mut self, case: &Case) {
        for live in &case.live.devices {
            let Some((made, _)) = case.replay.devices.get(&live.device_id) else { continue };
            self.id.push(live.device_id.0);
            self.created_at.push(*made);
        }
    }

    async fn write(&self, db: &mut Tx) -> Result<(), StoreError> {
        sqlx::query!(
            "update devices d set created_at = r.created from unnest($1::uuid[], $2::timestamptz[]) as r(id, created)
             where d.device_id = r.id",
            &self.id,
            &self.created_at as &[Timestamp]
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Streams {
    fn add(&mut self, id: AccountId, replay: &Replay) {
        for (stream, version) in &replay.versions {
            let of_account = *stream == id.0;
            let (kind, epoch, logins) =
                if of_account { ("account", replay.account.session_epoch, replay.logins) } else { ("session", 0, 0) };
            self.id.push(*stream);
            self.kind.push(kind.to_owned());
            self.subject.push(id.0);
            self.version.push(*version);
            self.epoch.push(epoch);
            self.logins.push(logins);
        }
    }

    /// A stream that the events of two accounts name is that of the first.
    async fn write(&self, db: &mut Tx) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into streams (stream_id, kind, subject_id, version, session_epoch, logins)
             select distinct on (id) id, kind, subject, version, epoch, logins
             from unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[])
                  as r(id, kind, subject, version, epoch, logins)
             order by id, subject
             on conflict (stream_id) do update set kind = excluded.kind, subject_id = excluded.subject_id,
                 version = excluded.version, session_epoch = excluded.session_epoch, logins = excluded.logins",
            &self.id,
            &self.kind,
            &self.subject,
            &self.version,
            &self.epoch,
            &self.logins
        )
        .execute(db)
        .await?;
        Ok(())
    }
}
