use crate::account::Account;
use crate::clock::Timestamp;
use crate::seal::SealError;
use crate::store::keys::lookup::EmailKeys;
use crate::store::keys::{DataKey, NewDataKey};
use crate::store::write::{Expect, Write};
use crate::value::{AccountId, CredentialId};

impl Write {
    /// Inserts a new account. Fails as a conflict when its address is taken, so it must come with `claim_email`.
    pub fn insert_account(&mut self, id: AccountId, account: &Account, data_key: &DataKey) -> Result<(), SealError> {
        let profile = account.profile.as_ref().map(|profile| data_key.key.seal_json(id.0, profile)).transpose()?;
        let roles: Vec<String> = account.roles.iter().map(|role| role.as_str().to_owned()).collect();
        let binds = [
            self.bind(id.0),
            self.bind(profile),
            self.bind(account.locale.map_or("en", crate::value::Locale::as_str)),
            self.bind(account.status.as_str()),
            self.bind(roles),
            self.bind(account.email_verified_at),
            self.bind(account.locked_at),
            self.bind(account.created_at),
            self.bind(account.password_changed_at),
        ];
        self.step(
            "insert_account",
            Expect::Rows(1),
            format!(
                "insert into accounts (account_id, profile, locale, status, roles, email_verified_at, locked_at, created_at, password_changed_at)
                 values ({}) returning 1",
                binds.join(", ")
            ),
        );
        Ok(())
    }

    /// Writes the derived columns that its events have changed, and no other: what was loaded may have been mended by a rebuild since,
    /// and must not come back.
    pub fn update_account(
        &mut self,
        id: AccountId,
        (before, after): (&Account, &Account),
        data_key: Option<&DataKey>,
    ) -> Result<(), SealError> {
        let mut set = Vec::new();
        if after.profile != before.profile {
            let profile = match (&after.profile, data_key) {
                (Some(profile), Some(key)) => Some(key.key.seal_json(id.0, profile)?),
                _ => None,
            };
            set.push(("profile", self.bind(profile)));
        }
        if after.locale != before.locale {
            set.push(("locale", self.bind(after.locale.map_or("en", crate::value::Locale::as_str))));
        }
        if after.status != before.status {
            set.push(("status", self.bind(after.status.as_str())));
        }
        if after.roles != before.roles {
            let roles: Vec<String> = after.roles.iter().map(|role| role.as_str().to_owned()).collect();
            set.push(("roles", self.bind(roles)));
        }
        for (column, was, is) in [
            ("email_verified_at", before.email_verified_at, after.email_verified_at),
            ("locked_at", before.locked_at, after.locked_at),
            ("password_changed_at", before.password_changed_at, after.password_changed_at),
            ("reset_required_at", before.reset_required_at, after.reset_required_at),
            ("erase_at", before.erase_at, after.erase_at),
        ] {
            if is != was {
                set.push((column, self.bind(is)));
            }
        }
        if set.is_empty() {
            return Ok(());
        }
        let set: Vec<String> = set.into_iter().map(|(column, bind)| format!("{column} = {bind}")).collect();
        let id = self.bind(id.0);
        self.step(
            "update_account",
            Expect::Rows(1),
            format!("update accounts set {} where account_id = {id} returning 1", set.join(", ")),
        );
        Ok(())
    }

    /// Guard: the keys of look-ups are those that this write was decided on, and stay so until it is over (`docs/adr/0013`).
    pub(super) fn hold_lookup(&mut self, keys: &EmailKeys) {
        let version = self.bind(keys.version);
        self.guard(
            "hold_lookup",
            &format!(
                "select 1 from key_guards where purpose = 'email_lookup' and version = {version} and {{after}} for share"
            ),
        );
    }

    /// Gives the address to the account, under every key that it is looked up by; conflict while another has it. A reservation
    /// that has run out is taken over.
    pub fn claim_email(&mut self, account: AccountId, email: &EmailKeys, now: Timestamp) {
        self.hold_lookup(email);
        let (account, now) = (self.bind(account.0), self.bind(now));
        for (key, key_id) in &email.keys {
            let (key, key_id) = (self.bind(key.to_vec()), self.bind(key_id.clone()));
            self.guard(
                "claim_email",
                &format!(
                    "insert into account_emails as e (email_key, key_id, account_id, state)
                     select {key}, {key_id}, {account}, 'current' where {{after}}
                     on conflict (email_key) do update set key_id = {key_id}, account_id = {account}, state = 'current', reserved_until = null
                     where e.state = 'reserved' and (e.reserved_until <= {now} or e.account_id = {account}) returning 1"
                ),
            );
        }
    }

    /// Keeps the account's present address for it until `until`, while another becomes current.
    pub fn reserve_email(&mut self, account: AccountId, email: &EmailKeys, until: Timestamp) {
        self.hold_lookup(email);
        let (account, until) = (self.bind(account.0), self.bind(until));
        for (index, (key, key_id)) in email.keys.iter().enumerate() {
            let (key, key_id) = (self.bind(key.to_vec()), self.bind(key_id.clone()));
            let sql = if index == 0 {
                format!(
                    "update account_emails set state = 'reserved', reserved_until = {until}, key_id = {key_id}
                     where email_key = {key} and account_id = {account} and state = 'current' and {{after}} returning 1"
                )
            } else {
                // The active key says whose it is; the row of the next one may not have been made yet.
                format!(
                    "insert into account_emails as e (email_key, key_id, account_id, state, reserved_until)
                     select {key}, {key_id}, {account}, 'reserved', {until} where {{after}}
                     on conflict (email_key) do update set state = 'reserved', reserved_until = {until}
                     where e.account_id = {account} returning 1"
                )
            };
            self.guard("reserve_email", &sql);
        }
    }

    /// Gives an address of the account free.
    pub fn release_email(&mut self, account: AccountId, email: &EmailKeys) {
        self.hold_lookup(email);
        let account = self.bind(account.0);
        for (index, (key, _)) in email.keys.iter().enumerate() {
            let key = self.bind(key.to_vec());
            let sql = format!(
                "delete from account_emails where email_key = {key} and account_id = {account} and {{after}} returning 1"
            );
            if index == 0 {
                self.guard("release_email", &sql);
            } else {
                self.step("release_next", Expect::Any, sql.replace("{after}", "true"));
            }
        }
    }

    pub fn insert_data_key(&mut self, account: AccountId, key: &NewDataKey) {
        let binds = [
            self.bind(key.key.id),
            self.bind(account.0),
            self.bind(key.wrapped.clone()),
            self.bind(key.wrapped_by.clone()),
        ];
        self.step(
            "insert_data_key",
            Expect::Rows(1),
            format!(
                "insert into keys.data_keys (key_id, account_id, wrapped, wrapped_by)
                 select {} where {} returning 1",
                binds.join(", "),
                wraps(&binds[3])
            ),
        );
    }

    /// The first password of an account.
    pub fn insert_credential(&mut self, account: AccountId, credential: CredentialId, phc: &str, now: Timestamp) {
        let binds = [self.bind(account.0), self.bind(credential.0), self.bind(phc.to_owned()), self.bind(now)];
        self.step(
            "insert_credential",
            Expect::Rows(1),
            format!(
                "insert into credentials (account_id, kind, credential_id, version, secret, updated_at)
                 values ({}, 'password', {}, 1, {}, {}) returning 1",
                binds[0], binds[1], binds[2], binds[3]
            ),
        );
    }

    /// The next password of an account, or the same one stored anew. Works also for an account that had none.
    pub fn replace_credential(
        &mut self,
        account: AccountId,
        credential: CredentialId,
        version: u32,
        phc: &str,
        now: Timestamp,
    ) {
        let binds = [
            self.bind(account.0),
            self.bind(credential.0),
            self.bind(i32::try_from(version).unwrap_or(i32::MAX)),
            self.bind(phc.to_owned()),
            self.bind(now),
        ];
        self.step(
            "replace_credential",
            Expect::Rows(1),
            format!(
                "insert into credentials as c (account_id, kind, credential_id, version, secret, updated_at)
                 values ({}, 'password', {}, {}, {}, {})
                 on conflict (account_id, kind) do update set credential_id = excluded.credential_id, version = excluded.version,
                     secret = excluded.secret, updated_at = excluded.updated_at
                 where c.version = excluded.version - 1 returning 1",
                binds[0], binds[1], binds[2], binds[3], binds[4]
            ),
        );
    }

    /// Guard: no admin has been taken away since others were seen at `version`.
    pub fn move_admins(&mut self, version: i64) {
        let version = self.bind(version);
        self.guard(
            "move_admins",
            &format!(
                "update role_guards set version = version + 1 where role = 'admin' and version = {version} and {{after}} returning 1"
            ),
        );
    }

    pub fn touch_login(&mut self, account: AccountId, at: Timestamp) {
        let (account, at) = (self.bind(account.0), self.bind(at));
        self.step(
            "touch_login",
            Expect::Any,
            format!("update accounts set last_login_at = greatest(last_login_at, {at}) where account_id = {account} returning 1"),
        );
    }
}

/// That a key still wraps what is new. The statement has its lock on the table before it looks (`store::keys::change`).
pub(super) fn wraps(key_id: &str) -> String {
    format!("exists (select 1 from keys.service_keys where purpose = 'personal_data' and key_id = {key_id} and active)")
}
