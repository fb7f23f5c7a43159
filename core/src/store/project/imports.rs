//! Many new accounts in one statement: a column of each table is one array.

use std::mem::take;

use uuid::Uuid;

use crate::account::Account;
use crate::clock::Timestamp;
use crate::seal::SealError;
use crate::store::keys::NewDataKey;
use crate::store::keys::lookup::EmailKeys;
use crate::store::log::StreamKind;
use crate::store::project::accounts::wraps;
use crate::store::write::{Expect, Write};
use crate::value::{AccountId, CredentialId, Locale};

/// An account as an import makes it, with what its one event does not hold.
pub struct NewImport<'a> {
    pub id: AccountId,
    pub source_id: &'a str,
    pub account: &'a Account,
    pub last_login_at: Option<Timestamp>,
    pub email: &'a EmailKeys,
    pub data_key: &'a NewDataKey,
    pub credential: Option<(CredentialId, &'a str)>,
}

#[derive(Default)]
struct Columns {
    account: Vec<Uuid>,
    source_id: Vec<String>,
    /// One for each key of look-ups and account.
    email_key: Vec<Vec<u8>>,
    email_key_id: Vec<String>,
    email_account: Vec<Uuid>,
    profile: Vec<Option<Vec<u8>>>,
    locale: Vec<String>,
    status: Vec<String>,
    /// Names with commas between them: an array of arrays has rows of one length.
    roles: Vec<String>,
    email_verified_at: Vec<Option<Timestamp>>,
    created_at: Vec<Option<Timestamp>>,
    last_login_at: Vec<Option<Timestamp>>,
    key: Vec<Uuid>,
    wrapped: Vec<Vec<u8>>,
    wrapped_by: Vec<String>,
    credential_account: Vec<Uuid>,
    credential: Vec<Uuid>,
    secret: Vec<String>,
}

impl Columns {
    fn push(&mut self, new: &NewImport<'_>) -> Result<(), SealError> {
        let (id, account) = (new.id.0, new.account);
        let profile =
            account.profile.as_ref().map(|profile| new.data_key.key.key.seal_json(id, profile)).transpose()?;
        let roles: Vec<&str> = account.roles.iter().map(|role| role.as_str()).collect();
        self.account.push(id);
        self.source_id.push(new.source_id.to_owned());
        for (key, key_id) in &new.email.keys {
            self.email_key.push(key.to_vec());
            self.email_key_id.push(key_id.clone());
            self.email_account.push(id);
        }
        self.profile.push(profile);
        self.locale.push(account.locale.map_or("en", Locale::as_str).to_owned());
        self.status.push(account.status.as_str().to_owned());
        self.roles.push(roles.join(","));
        self.email_verified_at.push(account.email_verified_at);
        self.created_at.push(account.created_at);
        self.last_login_at.push(new.last_login_at);
        self.key.push(new.data_key.key.id);
        self.wrapped.push(new.data_key.wrapped.clone());
        self.wrapped_by.push(new.data_key.wrapped_by.clone());
        if let Some((credential, secret)) = new.credential {
            self.credential_account.push(id);
            self.credential.push(credential.0);
            self.secret.push(secret.to_owned());
        }
        Ok(())
    }
}

impl Write {
    /// Everything of these accounts but their events. Conflict while one of the addresses, or one of the ids there, is taken.
    ///
    /// Addresses are claimed in the order of their keys: two imports at once do not wait for each other crosswise.
    pub fn insert_imports(
        &mut self,
        source: &str,
        mut new: Vec<NewImport<'_>>,
        now: Timestamp,
    ) -> Result<(), SealError> {
        let Some(first) = new.first() else { return Ok(()) };
        self.hold_lookup(first.email);
        new.sort_unstable_by(|one, other| one.email.keys.cmp(&other.email.keys));
        let (count, mut columns) = (new.len(), Columns::default());
        for import in &new {
            columns.push(import)?;
        }
        let (now, account) = (self.bind(now), self.bind(take(&mut columns.account)) + "::uuid[]");
        self.step(
            "open_streams",
            Expect::Rows(count),
            format!(
                "insert into streams (stream_id, kind, subject_id, version)
                 select id, '{}', id, 1 from unnest({account}) as i(id) returning 1",
                StreamKind::Account.as_str()
            ),
        );
        let addresses = columns.email_key.len();
        let binds = [
            self.bind(take(&mut columns.email_key)) + "::bytea[]",
            self.bind(take(&mut columns.email_key_id)) + "::text[]",
            self.bind(take(&mut columns.email_account)) + "::uuid[]",
        ];
        self.step(
            "claim_emails",
            Expect::Rows(addresses),
            format!(
                "insert into account_emails as e (email_key, key_id, account_id, state)
                 select email_key, key_id, id, 'current' from unnest({}) as i(email_key, key_id, id)
                 on conflict (email_key) do update set key_id = excluded.key_id, account_id = excluded.account_id, state = 'current',
                     reserved_until = null
                 where e.state = 'reserved' and e.reserved_until <= {now} returning 1",
                binds.join(", ")
            ),
        );
        let (source, source_id) = (self.bind(source.to_owned()), self.bind(take(&mut columns.source_id)));
        self.step(
            "insert_imports",
            Expect::Rows(count),
            format!(
                "insert into imported_accounts (source, source_id, account_id)
                 select {source}, source_id, id from unnest({source_id}::text[], {account}) as i(source_id, id)
                 on conflict do nothing returning 1"
            ),
        );
        let (key, wrapped, by) = (
            self.bind(take(&mut columns.key)),
            self.bind(take(&mut columns.wrapped)),
            self.bind(take(&mut columns.wrapped_by)),
        );
        self.step(
            "insert_data_keys",
            Expect::Rows(count),
            format!(
                "insert into keys.data_keys (key_id, account_id, wrapped, wrapped_by)
                 select * from unnest({key}::uuid[], {account}, {wrapped}::bytea[], {by}::text[]) as n (key, account, wrapped, by)
                 where {} returning 1",
                wraps("n.by")
            ),
        );
        self.insert_import_accounts(&account, columns, &now, count);
        Ok(())
    }

    fn insert_import_accounts(&mut self, account: &str, columns: Columns, now: &str, count: usize) {
        let binds = [
            self.bind(columns.profile) + "::bytea[]",
            self.bind(columns.locale) + "::text[]",
            self.bind(columns.status) + "::text[]",
            self.bind(columns.roles) + "::text[]",
            self.bind(columns.email_verified_at) + "::timestamptz[]",
            self.bind(columns.created_at) + "::timestamptz[]",
            self.bind(columns.last_login_at) + "::timestamptz[]",
        ];
        self.step(
            "insert_accounts",
            Expect::Rows(count),
            format!(
                "insert into accounts (account_id, profile, locale, status, roles, email_verified_at, created_at, last_login_at)
                 select id, profile, locale, status, string_to_array(roles, ','), verified, created, last_login
                 from unnest({account}, {}) as i(id, profile, locale, status, roles, verified, created, last_login) returning 1",
                binds.join(", ")
            ),
        );
        let with_password = columns.secret.len();
        let binds = [
            self.bind(columns.credential_account) + "::uuid[]",
            self.bind(columns.credential) + "::uuid[]",
            self.bind(columns.secret) + "::text[]",
        ];
        self.step(
            "insert_credentials",
            Expect::Rows(with_password),
            format!(
                "insert into credentials (account_id, kind, credential_id, version, secret, updated_at)
                 select id, 'password', credential, 1, secret, {now} from unnest({}) as i(id, credential, secret) returning 1",
                binds.join(", ")
            ),
        );
    }
}
