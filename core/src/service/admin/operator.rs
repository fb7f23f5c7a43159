//! What only an operator does, at the command line. The actor is `operator`.

use crate::account::{Account, Command, Profile, Role, decide, evolve};
use crate::event::Event;
use crate::operator::OperatorEvent;
use crate::password::{PasswordPlain, PersonAttributes};
use crate::service::append::Batch;
use crate::service::{Context, Doorbook, Refusal};
use crate::store::Db;
use crate::store::log::StreamKind;
use crate::store::query::accounts;
use crate::store::rebuild::{self, Report};
use crate::value::{AccountId, CredentialId, Email, EventId, Locale, StreamId, TokenId};

/// An account made by an operator: verified by his word, with the roles he gives it.
pub struct OperatorAccount {
    pub email: Email,
    pub password: PasswordPlain,
    pub roles: Vec<Role>,
    pub locale: Locale,
    pub reason: String,
}

impl Doorbook {
    pub async fn create_account(&self, new: &OperatorAccount, context: &Context) -> Result<AccountId, Refusal> {
        let person = PersonAttributes { email: new.email.as_str(), ..PersonAttributes::default() };
        self.check_password(&new.password, "password", &person)?;
        let phc = self.hasher.hash(&new.password).await?;
        let now = self.now();
        let email = self.lookup_now().await?.keys_of(&new.email);
        if accounts::email_taken(&self.db, &email, now).await? {
            return Err(Refusal::EmailTaken);
        }
        let (id, credential, token) = (AccountId::new(now), CredentialId::new(now), TokenId::new(now));
        let profile =
            Profile { email: new.email.as_str().to_owned(), first_name: String::new(), last_name: String::new() };
        let registered = decide(
            &Account::default(),
            Command::Register { locale: new.locale, credential, profile, verification: token },
        )?;
        // An operator vouches for the address, so no verification is asked for.
        let mut events: Vec<_> = registered.into_iter().take(1).collect();
        let mut account = evolve(Account::default(), &events[0], now);
        let grants = new.roles.iter().map(|role| Command::GrantRole { role: *role, reason: new.reason.clone() });
        for command in std::iter::once(Command::VouchForEmail).chain(grants) {
            for event in decide(&account, command)? {
                account = evolve(account, &event, now);
                events.push(event);
            }
        }
        let data_key = self.vault.new_data_key(now);
        let mut batch = Batch::new(context, now);
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        batch.write.open_stream(StreamId(id.0), StreamKind::Account, Some(id), count);
        batch.write.claim_email(id, &email, now);
        batch.write.insert_data_key(id, &data_key);
        batch.write.insert_account(id, &account, &data_key.key)?;
        batch.write.insert_credential(id, credential, phc.as_str(), now);
        for (event, version) in events.into_iter().zip(1..) {
            batch.event(StreamId(id.0), version, Some(id), None, Event::Account(event), Some(&data_key.key))?;
        }
        batch.commit(self).await?;
        Ok(id)
    }

    pub async fn find_account(&self, email: &Email) -> Result<Option<AccountId>, Refusal> {
        let found = accounts::by_email(&self.db, &self.vault, &self.lookup().await?.keys_of(email)).await?;
        Ok(found.map(|loaded| loaded.id))
    }

    /// Writes what is derived from the log anew where it differs, and that this was done into the log. `owner` is a pool of the
    /// database's owner.
    pub async fn rebuild(&self, owner: &Db, context: &Context) -> Result<Report, Refusal> {
        let report = rebuild::rebuild(owner, &self.vault).await?;
        let mut batch = Batch::new(context, self.now());
        let stream = StreamId(EventId::new(batch.now).0);
        batch.write.append_stream(stream, StreamKind::Operator, 1);
        let events = i64::try_from(report.events).unwrap_or(i64::MAX);
        let event = OperatorEvent::ProjectionRebuilt { projection: "accounts".to_owned(), events };
        batch.event(stream, 1, None, None, Event::Operator(event), None)?;
        batch.commit(self).await?;
        Ok(report)
    }
}
