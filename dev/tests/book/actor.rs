//! What an account may be asked to do, by name: for tests that do all of it.

use std::sync::Arc;

use doorbook_core::account::Role;
use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::idempotent::IdempotencyHeader;
use doorbook_core::service::profile::ProfileChange;
use doorbook_core::service::register::Registration;
use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::value::{DeliveryId, Locale, PersonName, SessionId};
use uuid::Uuid;

use crate::common::*;

/// What is done under an Idempotency-Key, if it is given one.
pub const KEYED: [&str; 18] = [
    "register",
    "log out everywhere",
    "end a session",
    "change the profile",
    "change the password",
    "ask for a reset",
    "reset",
    "verify",
    "ask for another link",
    "ask for another address",
    "take the other address",
    "take the address back",
    "ask for deletion",
    "call the deletion off",
    "that was not me",
    "disable, as an admin",
    "send a mail anew, as an admin",
    "call a mail off, as an admin",
];

/// What is done otherwise.
pub const OTHERS: [&str; 5] = ["log in", "guess", "refresh", "log out", "erase"];

/// One of these for an account of its own, ready to be done.
pub struct Actor {
    book: Arc<Doorbook>,
    name: &'static str,
    address: String,
    other: String,
    context: Context,
    /// Nobody has registered yet without one.
    owner: Option<Owner>,
    /// Of a mail, if that is what it takes.
    link: String,
}

struct Owner {
    caller: Caller,
    acting: Context,
    refresh: String,
    /// A second session.
    there: SessionId,
    admin: Caller,
    /// The mail to verify the address.
    mail: DeliveryId,
}

impl Actor {
    pub async fn new(house: &House, book: &Arc<Doorbook>, name: &'static str, number: usize) -> Self {
        let context = from(&format!("198.18.{}.{}", number / 256, number % 256));
        let (address, other) = (format!("user{number}@example.com"), format!("other{number}@example.com"));
        let mut actor =
            Self { book: Arc::clone(book), name, address, other, context, owner: None, link: String::new() };
        if name != "register" {
            let owner = actor.live(house).await;
            actor.link = actor.link(house, &owner).await;
            actor.owner = Some(owner);
        }
        actor
    }

    /// Registers, and logs in twice.
    async fn live(&self, house: &House) -> Owner {
        let Self { book, address, context, .. } = self;
        register_from(book, address, context).await.unwrap();
        let newest = "select delivery_id from deliveries order by delivery_id desc limit 1";
        let mail: Uuid = sqlx::query_scalar(newest).fetch_one(&house.owner).await.unwrap();
        let there = login_from(book, address, PASSWORD, None, context).await.unwrap().session;
        let tokens = login_from(book, address, PASSWORD, None, context).await.unwrap();
        let caller = holder(book, &tokens).await;
        let admin = if self.name.ends_with("as an admin") { self.admin().await } else { caller };
        let acting = context.clone().acting(caller.account);
        Owner { caller, acting, refresh: tokens.refresh.expose().to_owned(), there, admin, mail: DeliveryId(mail) }
    }

    async fn admin(&self) -> Caller {
        let Self { book, address, context, .. } = self;
        let address = format!("admin-{address}");
        register_from(book, &address, context).await.unwrap();
        let id = book.find_account(&email(&address)).await.unwrap().unwrap();
        let grant = Order::new(Intervention::GrantRole(Role::Admin), "test");
        book.command_account(id, &grant, &Context::operator(Uuid::nil())).await.unwrap();
        holder(book, &login_from(book, &address, PASSWORD, None, context).await.unwrap()).await
    }

    /// Does what comes before, and gives the link that it leads to.
    async fn link(&self, house: &House, owner: &Owner) -> String {
        let (book, Owner { caller, acting, .. }) = (&self.book, owner);
        match self.name {
            "reset" => {
                book.request_reset(&email(&self.address), None, &self.context).await.unwrap();
                house.reset_link().await
            }
            "verify" => house.link(book, "verify").await,
            "take the other address" => {
                self.ask_for_the_other(owner, None).await.unwrap();
                house.link(book, "email_change_confirm").await
            }
            "take the address back" => {
                self.ask_for_the_other(owner, None).await.unwrap();
                let link = house.link(book, "email_change_confirm").await;
                book.confirm_email_change(&link, None, &self.context).await.unwrap();
                house.link(book, "email_change_notice").await
            }
            "call the deletion off" => {
                book.request_deletion(*caller, &password(PASSWORD), None, acting).await.unwrap();
                house.link(book, "deletion_requested").await
            }
            "that was not me" => {
                let new = password(OTHER_PASSWORD);
                book.change_password(*caller, &password(PASSWORD), &new, None, acting).await.unwrap();
                house.link(book, "password_changed").await
            }
            "send a mail anew, as an admin" => {
                self.call_off(owner, None).await.unwrap();
                String::new()
            }
            _ => String::new(),
        }
    }

    /// Does it.
    pub async fn act(&self, header: Option<&IdempotencyHeader>) -> Result<(), Refusal> {
        let Self { book, address, context, link, .. } = self;
        let Some(owner) = &self.owner else { return self.register(header).await };
        let Owner { caller, acting, refresh, there, .. } = owner;
        let (old, new) = (password(PASSWORD), password(OTHER_PASSWORD));
        match self.name {
            "log in" => login_from(book, address, PASSWORD, None, context).await.map(drop),
            "guess" => match login_from(book, address, OTHER_PASSWORD, None, context).await {
                Err(Refusal::InvalidCredentials) => Ok(()),
                other => other.map(drop),
            },
            "refresh" => book.refresh(refresh, context).await.map(drop),
            "log out" => book.logout(refresh, context).await,
            "log out everywhere" => book.logout_all(*caller, header, acting).await,
            "end a session" => book.revoke_session(*caller, *there, header, acting).await,
            "change the profile" => {
                let change = ProfileChange { first_name: None, last_name: None, locale: Some(Locale::Es) };
                book.update_profile(*caller, &change, header, acting).await.map(drop)
            }
            "change the password" => book.change_password(*caller, &old, &new, header, acting).await,
            "ask for a reset" => book.request_reset(&email(address), header, context).await,
            "reset" => book.confirm_reset(link, &new, header, context).await,
            "verify" => book.verify_email(link, header, context).await,
            "ask for another link" => book.resend_verification(&email(address), header, context).await,
            "ask for another address" => self.ask_for_the_other(owner, header).await,
            "take the other address" => book.confirm_email_change(link, header, context).await,
            "take the address back" => book.undo_email_change(link, header, context).await,
            "ask for deletion" => book.request_deletion(*caller, &old, header, acting).await.map(drop),
            "call the deletion off" => book.cancel_deletion(link, header, context).await,
            "that was not me" => book.freeze(link, header, context).await,
            "erase" => {
                let erase = Order::new(Intervention::Erase, "test");
                book.command_account(caller.account, &erase, &Context::operator(Uuid::nil())).await.map(drop)
            }
            _ => self.administer(owner, header).await,
        }
    }

    async fn administer(&self, owner: &Owner, header: Option<&IdempotencyHeader>) -> Result<(), Refusal> {
        let (book, admin) = (&self.book, owner.admin);
        let acting = self.context.clone().acting(admin.account);
        match self.name {
            "disable, as an admin" => {
                let disable = Order::new(Intervention::Disable, "test");
                book.administer(admin, owner.caller.account, &disable, header, &acting).await
            }
            "send a mail anew, as an admin" => {
                book.resend_mail(admin, owner.mail, "test", header, &acting).await.map(drop)
            }
            "call a mail off, as an admin" => self.call_off(owner, header).await,
            other => panic!("nobody can {other}"),
        }
    }

    async fn call_off(&self, owner: &Owner, header: Option<&IdempotencyHeader>) -> Result<(), Refusal> {
        let acting = self.context.clone().acting(owner.admin.account);
        self.book.cancel_mail(owner.admin, owner.mail, "test", header, &acting).await
    }

    async fn ask_for_the_other(&self, owner: &Owner, header: Option<&IdempotencyHeader>) -> Result<(), Refusal> {
        let (password, other) = (password(PASSWORD), email(&self.other));
        self.book.request_email_change(owner.caller, &password, &other, header, &owner.acting).await
    }

    async fn register(&self, header: Option<&IdempotencyHeader>) -> Result<(), Refusal> {
        let registration = Registration {
            email: email(&self.address),
            password: password(PASSWORD),
            first_name: PersonName::parse("Ana").unwrap(),
            last_name: PersonName::parse("Lima").unwrap(),
            locale: None,
            idempotency: header.cloned(),
        };
        self.book.register(registration, &self.context).await
    }
}
