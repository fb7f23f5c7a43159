//! Registration: the same answer and the same work for a free and a taken address; who owns a taken one gets a mail instead.

use super::append::{Batch, MailOrder};
use super::idempotent::IdempotencyHeader;
use super::limits::{identifier_bucket, network_bucket};
use super::{Context, Doorbook, FieldFault, Refusal, RegistrationMode};
use crate::account::{Account, AccountEvent, Command, Profile, decide, evolve};
use crate::attempt::AttemptEvent;
use crate::limit::Rule;
use crate::password::{PasswordPlain, PersonAttributes, PhcString};
use crate::store::StoreError;
use crate::store::keys::lookup::EmailKeys;
use crate::store::project::idempotency::IdempotencyKey;
use crate::store::project::tokens::{NewToken, TokenKind};
use crate::store::query::{accounts, counters};
use crate::store::write::Write;
use crate::token::random;
use crate::value::{AccountId, CredentialId, Email, Locale, PersonName, StreamId, TokenId};

pub struct Registration {
    pub email: Email,
    pub password: PasswordPlain,
    pub first_name: PersonName,
    pub last_name: PersonName,
    pub locale: Option<Locale>,
    pub idempotency: Option<IdempotencyHeader>,
}

/// Attempts to register a taken address that the log and its owner are told of, per address. Source: docs/SETTINGS.md.
const TAKEN_ATTEMPTS: Rule =
    Rule { max: 3, window: std::time::Duration::from_hours(1), block: std::time::Duration::ZERO };

impl Doorbook {
    pub async fn register(&self, registration: Registration, context: &Context) -> Result<(), Refusal> {
        if self.policy.registration_mode == RegistrationMode::Closed {
            return Err(Refusal::RegistrationClosed);
        }
        self.check_password(&registration.password, "password", &registration.attributes())?;
        self.hasher.room().await?;
        let header = registration.idempotency.as_ref();
        self.unless_done(header, context, async |_| {
            self.count(&network_bucket("register", &context.origin), self.policy.registration, &context.origin).await?;
            // Hashed in every case: a taken address costs what a free one costs.
            let phc = self.hasher.hash(&registration.password).await?;
            self.enter(&registration, &phc, context).await
        })
        .await
        .map(drop)
    }

    async fn enter(&self, registration: &Registration, phc: &PhcString, context: &Context) -> Result<(), Refusal> {
        self.once_within(registration.idempotency.as_ref(), context, async |key| {
            let email = self.lookup_now().await?.keys_of(&registration.email);
            match accounts::by_email(&self.db, &self.vault, &email).await? {
                Some(owner) => self.attempt_for_taken(registration, &owner, key, context).await,
                None => self.insert_account(registration, phc, &email, key, context).await,
            }
        })
        .await
        .map(drop)
    }

    async fn insert_account(
        &self,
        registration: &Registration,
        phc: &PhcString,
        email: &EmailKeys,
        key: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<(), Refusal> {
        let now = self.now();
        if accounts::email_taken(&self.db, email, now).await? {
            if accounts::by_email(&self.db, &self.vault, email).await?.is_some() {
                // Somebody was faster: its owner is to be told.
                return Err(StoreError::Conflict.into());
            }
            // Reserved for the owner of a change that can still be undone: nobody gets it, and nobody is told.
            return self.attempt_for_reserved(registration, key, context).await;
        }
        let (account, credential, token) = (AccountId::new(now), CredentialId::new(now), TokenId::new(now));
        let data_key = self.vault.new_data_key(now);
        let locale = registration.locale.unwrap_or(self.policy.default_locale);
        let command = Command::Register { locale, credential, profile: registration.profile(), verification: token };
        let events = decide(&Account::default(), command)?;
        let after = events.iter().fold(Account::default(), |account, event| evolve(account, event, now));
        let mut batch = Batch::new(context, now);
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        batch.write.open_stream(StreamId(account.0), crate::store::log::StreamKind::Account, Some(account), count);
        batch.write.claim_email(account, email, now);
        batch.write.insert_data_key(account, &data_key);
        batch.write.insert_account(account, &after, &data_key.key)?;
        batch.write.insert_credential(account, credential, phc.as_str(), now);
        let mut cause = None;
        for (event, version) in events.into_iter().zip(1..) {
            let requests = matches!(event, AccountEvent::EmailVerificationRequested { .. });
            let event = crate::event::Event::Account(event);
            let id = batch.event(StreamId(account.0), version, Some(account), None, event, Some(&data_key.key))?;
            if requests {
                cause = Some(id);
            }
        }
        batch.write.open_token(self.new_token(token, account, TokenKind::Verify, self.policy.verification_expiry, now));
        if let Some(cause) = cause {
            let order = MailOrder::urgent("verify", account, Some(token));
            batch.mail(&order, cause, Some(&data_key.key))?;
        }
        batch.write.put_idempotency(key, 201, None);
        crate::failpoint!("register.deciding");
        Ok(batch.commit(self).await?)
    }

    /// Somebody tried to register an address that has an account. Its owner is told, three times an hour; a link to an
    /// unverified account sets a new password and verifies, so nobody can squat on an address.
    async fn attempt_for_taken(
        &self,
        registration: &Registration,
        owner: &accounts::Loaded,
        key: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<(), Refusal> {
        let now = self.now();
        let bucket = identifier_bucket("register_taken", &registration.email);
        let verified = owner.account.email_verified_at.is_some();
        let mut batch = Batch::new(context, now);
        let (row, counted_at) = counters::read(&self.db, &self.vault, &bucket).await?;
        let attempt = AttemptEvent::RegistrationAttemptedForTakenEmail { verified };
        let Ok(counter) = row.counter.clone().count(TAKEN_ATTEMPTS, counted_at) else {
            return self.attempt_too_many(registration, key, context).await;
        };
        batch.write.put_counter(&row, &counter, counter.forgotten_at(TAKEN_ATTEMPTS, counted_at));
        let ids = self
            .attempts(
                &mut batch,
                &bucket,
                TAKEN_ATTEMPTS.window,
                Some((owner.id, owner.data_key.as_ref())),
                vec![attempt],
            )
            .await?;
        if owner.account.status.takes_resets() {
            let token = (!verified).then(|| TokenId::new(now));
            if let Some(token) = token {
                batch.write.open_token(self.new_token(
                    token,
                    owner.id,
                    TokenKind::Reset,
                    self.policy.reset_expiry,
                    now,
                ));
            }
            let order = MailOrder::urgent(
                if verified { "registration_attempt" } else { "registration_unverified" },
                owner.id,
                token,
            );
            for cause in ids {
                batch.mail(&order, cause, owner.data_key.as_ref())?;
            }
        }
        batch.write.put_idempotency(key, 201, None);
        Ok(batch.commit(self).await?)
    }

    async fn attempt_for_reserved(
        &self,
        registration: &Registration,
        key: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<(), Refusal> {
        let bucket = identifier_bucket("register_taken", &registration.email);
        let (row, counted_at) = counters::read(&self.db, &self.vault, &bucket).await?;
        let Ok(counter) = row.counter.clone().count(TAKEN_ATTEMPTS, counted_at) else {
            return self.attempt_too_many(registration, key, context).await;
        };
        let mut batch = Batch::new(context, self.now());
        let attempt = AttemptEvent::RegistrationAttemptedForTakenEmail { verified: true };
        self.attempts(&mut batch, &bucket, TAKEN_ATTEMPTS.window, None, vec![attempt]).await?;
        batch.write.put_counter(&row, &counter, counter.forgotten_at(TAKEN_ATTEMPTS, counted_at));
        batch.write.put_idempotency(key, 201, None);
        Ok(batch.commit(self).await?)
    }

    /// The owner has been told often enough: the log is told once a window that there are more, and the account's own history of none of
    /// them.
    async fn attempt_too_many(
        &self,
        registration: &Registration,
        key: Option<IdempotencyKey>,
        context: &Context,
    ) -> Result<(), Refusal> {
        if key.is_some() {
            let mut write = Write::new();
            write.put_idempotency(key, 201, None);
            write.run(&self.db).await?;
        }
        let bucket = identifier_bucket("register_taken_more", &registration.email);
        self.note_exceeded(&bucket, TAKEN_ATTEMPTS, &context.origin).await;
        Ok(())
    }

    /// A token row with a fresh salt under the current key.
    pub(crate) fn new_token(
        &self,
        id: TokenId,
        account: AccountId,
        kind: TokenKind,
        life: std::time::Duration,
        now: crate::clock::Timestamp,
    ) -> NewToken<'_> {
        NewToken {
            id,
            account,
            kind,
            key_id: self.roots.current_id(),
            salt: random(),
            detail: None,
            created_at: now,
            expires_at: now.plus(life),
        }
    }

    /// The password rules in force, for every path that sets a password.
    pub(crate) fn check_password(
        &self,
        password: &PasswordPlain,
        field: &'static str,
        person: &PersonAttributes<'_>,
    ) -> Result<(), Refusal> {
        self.policy.password.check(password, person).map_err(|violations| {
            Refusal::Invalid(
                violations.into_iter().map(|broken| FieldFault::new(field, broken.code, broken.message)).collect(),
            )
        })
    }
}

impl Registration {
    fn profile(&self) -> Profile {
        Profile {
            email: self.email.as_str().to_owned(),
            first_name: self.first_name.as_str().to_owned(),
            last_name: self.last_name.as_str().to_owned(),
        }
    }

    fn attributes(&self) -> PersonAttributes<'_> {
        PersonAttributes {
            email: self.email.as_str(),
            first_name: self.first_name.as_str(),
            last_name: self.last_name.as_str(),
        }
    }
}
