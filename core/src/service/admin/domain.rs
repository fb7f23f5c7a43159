//! Accounts by the domain of their address. Addresses are sealed; which events name one of a domain, the search view knows by a keyed
//! hash. It follows the log, so what happened a moment ago may be missing.

use super::{AccountFilter, AccountView};
use crate::service::access::Caller;
use crate::service::{Context, Doorbook, FieldFault, Refusal};
use crate::store::log;
use crate::store::search::{self, Holders};
use crate::terms::Field;
use crate::value::{Email, EventId};

/// A page. It may be short, or empty, and still have a next one.
#[derive(Debug)]
pub struct DomainPage {
    /// Those last whose address was set first.
    pub accounts: Vec<AccountView>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<EventId>,
}

impl Doorbook {
    /// A page of the accounts that have an address of a domain and all else that is asked for.
    pub async fn accounts_of_domain(
        &self,
        caller: Caller,
        domain: &str,
        filter: &AccountFilter,
        before: Option<EventId>,
        limit: u32,
        context: &Context,
    ) -> Result<DomainPage, Refusal> {
        let fault = |field, message| Refusal::Invalid(vec![FieldFault::new(field, "invalid", message)]);
        let domain = Email::domain_of(domain);
        let domain = domain.ok_or_else(|| fault("email_domain", "must be a domain such as example.com"))?;
        let holds = |view: &AccountView| {
            let held = view.email.as_deref().and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
            held == Some(&*domain)
                && filter.status.is_none_or(|status| view.status == status)
                && filter.role.is_none_or(|role| view.roles.contains(&role))
        };
        if filter.id.is_some() || filter.email.is_some() {
            let found = self.search_accounts(caller, filter, None, 1, context).await?;
            return Ok(DomainPage { accounts: found.into_iter().filter(holds).collect(), next: None });
        }
        self.note_search(caller, filter, Some(&domain), context).await?;
        let before = match before {
            None => i64::MAX,
            Some(event) => {
                let position = log::positions_of(&self.db, &[event]).await?.pop();
                position.ok_or_else(|| fault("before", "is not from a page of this search"))?
            }
        };
        let term = self.vault.search_key(&self.db).await?.term(Field::EmailDomain, &domain);
        let Holders { found, next } = search::of_domain(&self.db, term, before, i64::from(limit.max(1))).await?;
        let views = self.accounts_of_ids(caller, &found).await?;
        Ok(DomainPage { accounts: views.into_iter().filter(holds).collect(), next })
    }
}
