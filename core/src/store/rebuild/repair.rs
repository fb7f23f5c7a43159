//! Writes what the events of one account come to over what its live rows say. Runs under the account's guard, so nothing moves
//! meanwhile. Kept columns stay as they are: a row that needs one to be made again cannot be, and remains a difference.

use super::Case;
use super::compare::Opened;
use super::fold::Replay;
use crate::clock::Timestamp;
use crate::store::{StoreError, Tx};
use crate::value::{AccountId, Locale};

pub(super) async fn repair(db: &mut Tx, id: AccountId, case: &Case, opened: &Opened) -> Result<(), StoreError> {
    // Rows without a registration are not ours to judge: what they would be made of is missing.
    let Some(created_at) = case.replay.account.created_at else { return Ok(()) };
    account(&mut *db, id, case, opened, created_at).await?;
    email(&mut *db, id, opened).await?;
    credential(&mut *db, id, &case.replay).await?;
    sessions(&mut *db, case, opened).await?;
    tokens(&mut *db, case).await?;
    devices(&mut *db, case).await?;
    streams(&mut *db, id, &case.replay).await
}

async fn account(
    db: &mut Tx,
    id: AccountId,
    case: &Case,
    opened: &Opened,
    created_at: Timestamp,
) -> Result<(), StoreError> {
    let account = &case.replay.account;
    let roles: Vec<String> = account.roles.iter().map(|role| role.as_str().to_owned()).collect();
    let profile = match (&account.profile, &case.key) {
        (Some(profile), _) if opened.profile.as_ref() == Some(profile) => {
            case.live.account.as_ref().and_then(|row| row.profile.clone())
        }
        (Some(profile), Some(key)) => Some(key.key.seal_json(id.0, profile)?),
        _ => None,
    };
    sqlx::query!(
        "insert into accounts (account_id, profile, locale, status, roles, email_verified_at, locked_at, created_at,
                               password_changed_at, last_login_at, reset_required_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (account_id) do update set profile = excluded.profile, locale = excluded.locale, status = excluded.status,
             roles = excluded.roles, email_verified_at = excluded.email_verified_at, locked_at = excluded.locked_at,
             created_at = excluded.created_at, password_changed_at = excluded.password_changed_at,
             last_login_at = excluded.last_login_at, reset_required_at = excluded.reset_required_at",
        id.0,
        profile,
        account.locale.map_or("en", Locale::as_str),
        account.status.as_str(),
        &roles,
        account.email_verified_at as Option<Timestamp>,
        account.locked_at as Option<Timestamp>,
        created_at as Timestamp,
        account.password_changed_at as Option<Timestamp>,
        case.replay.last_login_at as Option<Timestamp>,
        account.reset_required_at as Option<Timestamp>
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An address that has passed to another account stays there. Rows of a key that is on its way in are made by the change of keys.
async fn email(db: &mut Tx, id: AccountId, opened: &Opened) -> Result<(), StoreError> {
    let key = opened.email_key.as_ref().map(<[u8; 32]>::as_slice);
    sqlx::query!(
        "delete from account_emails where account_id = $1 and state = 'current' and key_id = $3 and email_key is distinct from $2",
        id.0,
        key,
        opened.lookup_key_id
    )
    .execute(&mut *db)
    .await?;
    let Some(key) = key else { return Ok(()) };
    sqlx::query!(
        "insert into account_emails as e (email_key, key_id, account_id, state) values ($1, $2, $3, 'current')
         on conflict (email_key) do update set state = 'current', reserved_until = null where e.account_id = excluded.account_id",
        key,
        opened.lookup_key_id,
        id.0
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn credential(db: &mut Tx, id: AccountId, replay: &Replay) -> Result<(), StoreError> {
    let (Some(credential), Some(at)) = (replay.account.credential, replay.credential_at) else { return Ok(()) };
    sqlx::query!(
        "update credentials set credential_id = $2, version = $3, updated_at = $4 where account_id = $1 and kind = 'password'",
        id.0,
        credential.id.0,
        i32::try_from(credential.version).unwrap_or(i32::MAX),
        at as Timestamp
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn sessions(db: &mut Tx, case: &Case, opened: &Opened) -> Result<(), StoreError> {
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
        sqlx::query!(
            "update sessions set session_epoch = $2, device_id = $3, origin = $4, created_at = $5, revoked_at = $6, revoked_reason = $7
             where session_id = $1",
            live.session_id.0,
            fate.epoch,
            replayed.device.map(|device| device.0),
            sealed,
            replayed.created_at as Timestamp,
            mark.map(|(at, _)| at) as Option<Timestamp>,
            mark.map(|(_, reason)| reason)
        )
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

async fn tokens(db: &mut Tx, case: &Case) -> Result<(), StoreError> {
    for live in &case.live.tokens {
        let Some(replayed) = case.replay.tokens.get(&live.token_id) else { continue };
        if replayed.was_voided_unseen(live.state.as_str()) {
            continue;
        }
        sqlx::query!(
            "update tokens set kind = $2, state = $3, created_at = $4,
                    closed_at = case when $3 = 'open' then null else coalesce(closed_at, clock_timestamp()) end
             where token_id = $1",
            live.token_id.0,
            replayed.kind.as_str(),
            replayed.state.as_str(),
            replayed.created_at.unwrap_or(live.created_at) as Timestamp
        )
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

async fn devices(db: &mut Tx, case: &Case) -> Result<(), StoreError> {
    for live in &case.live.devices {
        let Some(made) = case.replay.devices.get(&live.device_id) else { continue };
        sqlx::query!("update devices set created_at = $2 where device_id = $1", live.device_id.0, *made as Timestamp)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

async fn streams(db: &mut Tx, id: AccountId, replay: &Replay) -> Result<(), StoreError> {
    for (stream, version) in &replay.versions {
        let of_account = *stream == id.0;
        let (kind, epoch, logins) =
            if of_account { ("account", replay.account.session_epoch, replay.logins) } else { ("session", 0, 0) };
        sqlx::query!(
            "insert into streams (stream_id, kind, subject_id, version, session_epoch, logins) values ($1, $2, $3, $4, $5, $6)
             on conflict (stream_id) do update set kind = excluded.kind, subject_id = excluded.subject_id,
                 version = excluded.version, session_epoch = excluded.session_epoch, logins = excluded.logins",
            stream,
            kind,
            id.0,
            version,
            epoch,
            logins
        )
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}
