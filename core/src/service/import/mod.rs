//! Accounts of another service, many at a time. What a row must be stands in `row`; what it becomes is decided by the account's own
//! rules. A call is one statement: whoever is killed between two calls begins again and finds what is there already.

pub mod row;

use std::collections::{HashMap, HashSet};

use self::row::{Fault, Row};
use super::append::Batch;
use super::{Context, Doorbook, Refusal, retrying};
use crate::account::{Account, AccountEvent, Command, Imported, decide, evolve};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::store::keys::NewDataKey;
use crate::store::keys::lookup::{EmailKeys, Lookup};
use crate::store::project::imports::NewImport;
use crate::store::query::imports;
use crate::value::{AccountId, CredentialId, Locale, StreamId};

/// Most rows of one call. Source: with 1,000 rows a statement takes a fifth of a second; no write may take 5 s.
pub const BATCH_MAX: u16 = 1_000;

/// What has become of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A new account; in a dry run, one that would be made.
    New,
    /// An earlier run has brought it over.
    Known,
    Refused(Fault),
}

/// An account in the making.
struct Made<'a> {
    row: &'a Row,
    id: AccountId,
    account: Account,
    event: AccountEvent,
    credential: Option<CredentialId>,
    data_key: NewDataKey,
    email: EmailKeys,
}

impl Doorbook {
    /// Imports these rows of `source`, at most `BATCH_MAX`: one event each, no mail. Their ids and addresses differ from each other.
    pub async fn import_accounts(
        &self,
        source: &str,
        rows: &[Row],
        locale: Locale,
        context: &Context,
    ) -> Result<Vec<Fate>, Refusal> {
        retrying(async || {
            // Anew for each try: the keys may change meanwhile.
            let lookup = self.lookup_now().await?;
            let fates = self.judge_rows(&lookup, source, rows).await?;
            // One time for all: an event's id tells the time that the projections hold.
            let now = self.now();
            let mut made = Vec::with_capacity(rows.len());
            for (row, _) in rows.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::New) {
                made.push(self.make(&lookup, source, row, locale, now)?);
            }
            if !made.is_empty() {
                self.write_imports(source, made, now, context).await?;
            }
            Ok(fates)
        })
        .await
    }

    /// What would become of these rows now; writes nothing.
    pub async fn judge_import(&self, source: &str, rows: &[Row]) -> Result<Vec<Fate>, Refusal> {
        self.judge_rows(&*self.lookup_now().await?, source, rows).await
    }

    async fn judge_rows(&self, lookup: &Lookup, source: &str, rows: &[Row]) -> Result<Vec<Fate>, Refusal> {
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let each: Vec<Vec<Vec<u8>>> = rows.iter().map(|row| lookup.keys_of(&row.email).values()).collect();
        let keys: Vec<Vec<u8>> = each.iter().flatten().cloned().collect();
        let known: HashSet<String> = imports::known(&self.db, source, &ids).await?.into_iter().collect();
        let taken: HashMap<Vec<u8>, bool> = imports::taken(&self.db, &keys, self.now()).await?.into_iter().collect();
        let fate = |(row, keys): (&Row, &Vec<Vec<u8>>)| match keys.iter().find_map(|key| taken.get(key)) {
            // First: its own address is taken by itself.
            _ if known.contains(&row.id) => Fate::Known,
            Some(true) => Fate::Refused(Fault::new(
                "email",
                "reserved",
                "is reserved for an account that has just changed its address",
            )),
            Some(false) => Fate::Refused(Fault::new("email", "taken", "belongs to another account")),
            None => Fate::New,
        };
        Ok(rows.iter().zip(&each).map(fate).collect())
    }

    fn make<'a>(
        &self,
        lookup: &Lookup,
        source: &str,
        row: &'a Row,
        locale: Locale,
        now: Timestamp,
    ) -> Result<Made<'a>, Refusal> {
        let credential = row.password.as_ref().map(|_| CredentialId::new(now));
        let imported = Imported {
            source: source.to_owned(),
            source_id: row.id.clone(),
            locale,
            credential,
            disabled: !row.active,
            email_verified: row.email_verified,
            roles: row.roles.clone(),
            joined_at: row.joined_at,
            last_login_at: row.last_login_at,
            profile: row.profile(),
        };
        let mut events = decide(&Account::default(), Command::Import(Box::new(imported)))?;
        let event = events.pop().ok_or_else(|| Refusal::Internal("an import without an event".to_owned()))?;
        Ok(Made {
            row,
            id: AccountId::new(now),
            account: evolve(Account::default(), &event, now),
            event,
            credential,
            data_key: self.vault.new_data_key(now),
            email: lookup.keys_of(&row.email),
        })
    }

    async fn write_imports(
        &self,
        source: &str,
        made: Vec<Made<'_>>,
        now: Timestamp,
        context: &Context,
    ) -> Result<(), Refusal> {
        let mut batch = Batch::new(context, now);
        let new = made.iter().map(|made| NewImport {
            id: made.id,
            source_id: &made.row.id,
            account: &made.account,
            last_login_at: made.row.last_login_at,
            email: &made.email,
            data_key: &made.data_key,
            credential: made.credential.zip(made.row.password.as_deref()),
        });
        batch.write.insert_imports(source, new.collect(), now)?;
        for account in made {
            let (stream, key) = (StreamId(account.id.0), Some(&account.data_key.key));
            batch.event(stream, 1, Some(account.id), None, Event::Account(account.event), key)?;
        }
        batch.commit(self).await?;
        crate::failpoint!("import.committed");
        Ok(())
    }
}
