//! What is done to accounts by others than their owners: by operators at the command line, by admins over the API. Every change has
//! a reason.

mod domain;
mod last_admin;
mod mail_orders;
mod mails;
mod operator;
mod order;
mod step_up;
mod view;

pub use domain::DomainPage;
pub use mail_orders::MailRefusal;
pub use mails::{Audience, MAILS_PAGE_MAX, MailEvent, MailFilter, MailStory, MailView};
pub use operator::OperatorAccount;
pub use order::{Intervention, Order};
pub use view::{ACCOUNTS_PAGE_MAX, AccountDetail, AccountFilter, AccountView};

use super::{Context, FieldFault};
use crate::event::Actor;
use crate::value::ClientOrigin;

impl Context {
    /// An operator at the command line.
    pub fn operator(trace: uuid::Uuid) -> Self {
        let here = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        Self { origin: ClientOrigin::new(here, "doorbook cli", trace), actor: Actor::Operator }
    }
}

/// A reason every change needs.
pub fn parse_reason(text: &str) -> Result<String, FieldFault> {
    /// In characters.
    const LENGTH_MAX: usize = 500;
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LENGTH_MAX || text.chars().any(char::is_control) {
        return Err(FieldFault::new("reason", "invalid", format!("must hold 1 to {LENGTH_MAX} printable characters")));
    }
    Ok(text.to_owned())
}
