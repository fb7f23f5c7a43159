//! What the mails say. The wording is one file a language; the two layouts (text and HTML) are shared by all mails, so
//! the parts of a mail can never say different things.

mod alert;
mod device;
mod english;
mod examples;
mod facts;
mod greeting;
mod spanish;

pub(crate) use self::examples::MARK;

use std::fmt;
use std::net::IpAddr;

pub use alert::Alert;
use askama::Template as _;
pub use device::Device;
use serde::Serialize;
use time::OffsetDateTime;
use url::Url;

/// The language of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locale {
    En,
    Es,
}

impl Locale {
    pub const ALL: [Self; 2] = [Self::En, Self::Es];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
        }
    }
}

/// A link, most of them with a token: `Debug` hides it.
pub struct Link(Url);

impl From<Url> for Link {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link(…)")
    }
}

/// When something was done, and from which client address and with what, if that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub at: OffsetDateTime,
    pub address: Option<IpAddr>,
    pub device: Option<Device>,
}

/// Where the owner goes who knows nothing of what a notice tells.
pub enum Remedy {
    /// Closes the account until a new password is set.
    NotMe { link: Link, valid_days: u32 },
    /// Where a new password is asked for: that link can be used no more.
    ResetPage(Link),
}

/// Who reads the mail. The name may be any text: it greets only if it looks like a name.
#[derive(Default, Clone, Copy)]
pub struct Recipient<'a> {
    pub first_name: Option<&'a str>,
}

/// Every mail Doorbook sends.
pub enum Template {
    /// To a new account: the link confirms its address. The origin is that of whoever registered, or asked for the mail again.
    Verify {
        origin: Origin,
        link: Link,
        valid_hours: u32,
    },
    /// To the owner of a confirmed address that somebody registered again; the link is the reset page, without token.
    RegistrationAttempt {
        origin: Origin,
        reset_page: Link,
    },
    /// To an address registered again before it was confirmed; the link sets a new password and confirms.
    RegistrationUnverified {
        origin: Origin,
        link: Link,
        valid_hours: u32,
    },
    /// The link lets its holder choose a new password.
    Reset {
        link: Link,
        valid_hours: u32,
    },
    /// The old password opens nothing any more, by an admin's order; the link lets its holder choose a new one.
    ResetForced {
        link: Link,
        valid_hours: u32,
    },
    /// The owner has closed the account with the link of a notice; the link lets its holder choose a new password and opens it again.
    ResetFrozen {
        link: Link,
        valid_hours: u32,
    },
    /// After a change of the password.
    PasswordChanged {
        origin: Origin,
        remedy: Remedy,
    },
    /// After a reset of the password.
    PasswordResetDone {
        origin: Origin,
        remedy: Remedy,
    },
    /// To the new address: the link makes it the account's.
    EmailChangeConfirm {
        link: Link,
        valid_hours: u32,
    },
    /// To the old address: the link undoes the change. The new address is given in full and masked here.
    EmailChangeNotice {
        origin: Origin,
        new_address: String,
        undo: Link,
        valid_days: u32,
    },
    /// After the change took effect; the link is for the owner who did not do it. Masked like above.
    EmailChanged {
        origin: Origin,
        new_address: String,
        reset_page: Link,
    },
    /// To the address that is the account's again.
    EmailChangeUndone {
        origin: Origin,
        remedy: Remedy,
    },
    /// The account will be erased in so many days; the link takes that back.
    DeletionRequested {
        origin: Origin,
        cancel: Link,
        valid_days: u32,
    },
    /// A spent refresh token came back, so its session was ended.
    TokenReused {
        origin: Origin,
        remedy: Remedy,
    },
    /// Somebody has logged in where nobody had for long.
    LoginNewPlace {
        origin: Origin,
        remedy: Remedy,
    },
    /// Somebody has logged in after others, or he himself, had failed.
    LoginAfterFailures {
        origin: Origin,
        remedy: Remedy,
    },
    /// Guesses have failed: for a while nobody logs in.
    LoginBlocked {
        origin: Origin,
        remedy: Remedy,
    },
    /// Too many have failed in a row: nobody logs in before a new password is set.
    AccountLocked {
        origin: Origin,
        remedy: Remedy,
    },
    /// By somebody who runs the service, whose place is not told.
    RoleGranted {
        origin: Origin,
        role: String,
        remedy: Remedy,
    },
    RoleRevoked {
        origin: Origin,
        role: String,
        remedy: Remedy,
    },
    /// To an operator, in English whatever is asked for, and without a link.
    SecurityAlert(Alert),
}

/// Tokens, addresses and client addresses stay out of logs.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.name())
    }
}

/// A mail in words. No `Debug`: it has the link in it.
pub struct Rendered {
    pub subject: String,
    pub text: String,
    pub html: String,
}

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The built-in layouts are checked at compile time; what is left is memory.
    #[error("the mail could not be rendered: {0}")]
    BuiltIn(#[from] askama::Error),
    /// It was tried at the start, with other words.
    #[error("the mail could not be rendered: {0}")]
    Own(String),
}

impl Template {
    /// The name in events and deliveries. Stable: it is stored for ever.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verify { .. } => "verify",
            Self::RegistrationAttempt { .. } => "registration_attempt",
            Self::RegistrationUnverified { .. } => "registration_unverified",
            Self::Reset { .. } => "reset",
            Self::ResetForced { .. } => "reset_forced",
            Self::ResetFrozen { .. } => "reset_frozen",
            Self::PasswordChanged { .. } => "password_changed",
            Self::PasswordResetDone { .. } => "password_reset_done",
            Self::EmailChangeConfirm { .. } => "email_change_confirm",
            Self::EmailChangeNotice { .. } => "email_change_notice",
            Self::EmailChanged { .. } => "email_changed",
            Self::EmailChangeUndone { .. } => "email_change_undone",
            Self::DeletionRequested { .. } => "deletion_requested",
            Self::TokenReused { .. } => "token_reused",
            Self::LoginNewPlace { .. } => "login_new_place",
            Self::LoginAfterFailures { .. } => "login_after_failures",
            Self::LoginBlocked { .. } => "login_blocked",
            Self::AccountLocked { .. } => "account_locked",
            Self::RoleGranted { .. } => "role_granted",
            Self::RoleRevoked { .. } => "role_revoked",
            Self::SecurityAlert(_) => "security_alert",
        }
    }

    /// Puts the mail into words. `site_name` is what the reader knows the product by: the host of the frontend.
    pub fn render(&self, locale: Locale, recipient: &Recipient<'_>, site_name: &str) -> Result<Rendered, RenderError> {
        self.words(locale, recipient, site_name).render()
    }

    /// The language that it is written in for who reads this one.
    pub(crate) const fn locale(&self, asked: Locale) -> Locale {
        match self {
            Self::SecurityAlert(_) => Locale::En,
            _ => asked,
        }
    }

    /// What the mail says, apart from how it looks.
    pub(crate) fn words<'a>(&'a self, locale: Locale, recipient: &Recipient<'a>, site: &'a str) -> Words<'a> {
        let locale = self.locale(locale);
        let name = recipient.first_name.and_then(greeting::usable_name);
        let (greeting, wording, footer) = match locale {
            Locale::En => (english::greeting(name), english::wording(self, site), english::footer(site)),
            Locale::Es => (spanish::greeting(name), spanish::wording(self, site), spanish::footer(site)),
        };
        let Wording { subject, before, action, after } = wording;
        Words {
            template: self.name(),
            language: locale.as_str(),
            site,
            name,
            greeting,
            subject,
            before,
            action,
            link: self.link().map(|link| link.0.as_str()).unwrap_or_default(),
            after,
            footer,
            facts: self.facts(),
        }
    }

    fn link(&self) -> Option<&Link> {
        Some(match self {
            Self::Verify { link, .. }
            | Self::RegistrationUnverified { link, .. }
            | Self::Reset { link, .. }
            | Self::ResetForced { link, .. }
            | Self::ResetFrozen { link, .. }
            | Self::EmailChangeConfirm { link, .. } => link,
            Self::RegistrationAttempt { reset_page, .. } | Self::EmailChanged { reset_page, .. } => reset_page,
            Self::PasswordChanged { remedy, .. }
            | Self::PasswordResetDone { remedy, .. }
            | Self::EmailChangeUndone { remedy, .. }
            | Self::TokenReused { remedy, .. }
            | Self::LoginNewPlace { remedy, .. }
            | Self::LoginAfterFailures { remedy, .. }
            | Self::LoginBlocked { remedy, .. }
            | Self::AccountLocked { remedy, .. }
            | Self::RoleGranted { remedy, .. }
            | Self::RoleRevoked { remedy, .. } => remedy.link(),
            Self::EmailChangeNotice { undo, .. } => undo,
            Self::DeletionRequested { cancel, .. } => cancel,
            // Where the console is reached from is nobody's setting.
            Self::SecurityAlert(_) => return None,
        })
    }
}

/// What one mail says, under the names by which an operator's own templates know it.
#[derive(Serialize)]
pub(crate) struct Words<'a> {
    pub template: &'static str,
    pub language: &'static str,
    site: &'a str,
    /// The reader's first name, if it looks like one.
    name: Option<&'a str>,
    greeting: String,
    pub subject: String,
    before: Vec<String>,
    action: &'static str,
    /// Empty where there is none.
    pub link: &'a str,
    after: Vec<String>,
    footer: String,
    #[serde(flatten)]
    facts: facts::Facts,
}

impl Words<'_> {
    /// As the built-in layouts show them.
    pub fn render(self) -> Result<Rendered, RenderError> {
        let (text, html) = (self.text()?, self.html()?);
        Ok(Rendered { subject: self.subject, text, html })
    }

    pub fn text(&self) -> Result<String, RenderError> {
        Ok(TextLayout { words: self }.render()?)
    }

    pub fn html(&self) -> Result<String, RenderError> {
        Ok(HtmlLayout { words: self }.render()?)
    }
}

impl Remedy {
    fn link(&self) -> &Link {
        match self {
            Self::NotMe { link, .. } | Self::ResetPage(link) => link,
        }
    }
}

/// The words of one mail: paragraphs, the link's label, paragraphs.
struct Wording {
    subject: String,
    before: Vec<String>,
    action: &'static str,
    after: Vec<String>,
}

#[derive(askama::Template)]
#[template(path = "mail.txt", escape = "none")]
struct TextLayout<'a> {
    words: &'a Words<'a>,
}

#[derive(askama::Template)]
#[template(path = "mail.html")]
struct HtmlLayout<'a> {
    words: &'a Words<'a>,
}

/// First character and domain: enough for the owner to recognise the address, too little for a thief to use it.
fn masked(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}***@{domain}", local.chars().take(1).collect::<String>()),
        None => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_address_keeps_its_first_character_and_its_domain() {
        assert_eq!(masked("maria.lopez@example.com"), "m***@example.com");
        assert_eq!(masked("ñandú@example.com"), "ñ***@example.com");
        assert_eq!(masked("@example.com"), "***@example.com");
        assert_eq!(masked("no address"), "***");
    }

    #[test]
    fn masking_twice_is_masking_once() {
        assert_eq!(masked(&masked("maria@example.com")), masked("maria@example.com"));
    }
}
