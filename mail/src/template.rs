//! What the mails say. The wording is one file a language; the two layouts (text and HTML) are shared by all mails, so
//! the parts of a mail can never say different things.

mod english;
mod greeting;
mod spanish;

use std::fmt;
use std::net::IpAddr;

use askama::Template as _;
use time::OffsetDateTime;
use url::Url;

/// The language of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locale {
    En,
    Es,
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

/// When something was done, and from which client address if that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub at: OffsetDateTime,
    pub address: Option<IpAddr>,
}

/// Who reads the mail. The name may be any text: it greets only if it looks like a name.
#[derive(Default, Clone, Copy)]
pub struct Recipient<'a> {
    pub first_name: Option<&'a str>,
}

/// What looks like an attack. Numbers and ids: no address, no name.
pub struct Alert {
    pub at: OffsetDateTime,
    /// One sentence without a full stop.
    pub about: String,
    pub rule: String,
    pub severity: String,
    /// Whom or what it is about, such as an account's id; none when it is about all.
    pub subjects: Vec<String>,
    pub count: u64,
    pub threshold: u64,
    /// 0 where one event is enough.
    pub seconds: u64,
    /// The alert's id.
    pub id: String,
}

/// Every mail Doorbook sends.
pub enum Template {
    /// To a new account: the link confirms its address.
    Verify { link: Link, valid_hours: u32 },
    /// To the owner of a confirmed address that somebody registered again; the link is the reset page, without token.
    RegistrationAttempt { origin: Origin, reset_page: Link },
    /// To an address registered again before it was confirmed; the link sets a new password and confirms.
    RegistrationUnverified { origin: Origin, link: Link, valid_hours: u32 },
    /// The link lets its holder choose a new password.
    Reset { link: Link, valid_hours: u32 },
    /// The old password opens nothing any more, by an admin's order; the link lets its holder choose a new one.
    ResetForced { link: Link, valid_hours: u32 },
    /// After a change of the password; the link is for the owner who did not do it.
    PasswordChanged { origin: Origin, reset_page: Link },
    /// After a reset of the password; the link is for the owner who did not do it.
    PasswordResetDone { origin: Origin, reset_page: Link },
    /// To the new address: the link makes it the account's.
    EmailChangeConfirm { link: Link, valid_hours: u32 },
    /// To the old address: the link undoes the change. The new address is given in full and masked here.
    EmailChangeNotice { origin: Origin, new_address: String, undo: Link, valid_days: u32 },
    /// After the change took effect; the link is for the owner who did not do it. Masked like above.
    EmailChanged { origin: Origin, new_address: String, reset_page: Link },
    /// To the address that is the account's again.
    EmailChangeUndone { origin: Origin, reset_page: Link },
    /// The account will be erased in so many days; the link takes that back.
    DeletionRequested { origin: Origin, cancel: Link, valid_days: u32 },
    /// A spent refresh token came back, so its session was ended.
    TokenReused { origin: Origin, reset_page: Link },
    /// To an operator, in English whatever is asked for.
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

/// The layouts are checked at compile time; what is left is memory.
#[derive(Debug, thiserror::Error)]
#[error("the mail could not be rendered: {0}")]
pub struct RenderError(#[from] askama::Error);

impl Template {
    /// The name in events and deliveries. Stable: it is stored for ever.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verify { .. } => "verify",
            Self::RegistrationAttempt { .. } => "registration_attempt",
            Self::RegistrationUnverified { .. } => "registration_unverified",
            Self::Reset { .. } => "reset",
            Self::ResetForced { .. } => "reset_forced",
            Self::PasswordChanged { .. } => "password_changed",
            Self::PasswordResetDone { .. } => "password_reset_done",
            Self::EmailChangeConfirm { .. } => "email_change_confirm",
            Self::EmailChangeNotice { .. } => "email_change_notice",
            Self::EmailChanged { .. } => "email_changed",
            Self::EmailChangeUndone { .. } => "email_change_undone",
            Self::DeletionRequested { .. } => "deletion_requested",
            Self::TokenReused { .. } => "token_reused",
            Self::SecurityAlert(_) => "security_alert",
        }
    }

    /// Puts the mail into words. `site_name` is what the reader knows the product by: the host of the frontend.
    pub fn render(&self, locale: Locale, recipient: &Recipient<'_>, site_name: &str) -> Result<Rendered, RenderError> {
        let locale = if matches!(self, Self::SecurityAlert(_)) { Locale::En } else { locale };
        let name = recipient.first_name.and_then(greeting::usable_name);
        let (language, greeting, wording, footer) = match locale {
            Locale::En => {
                ("en", english::greeting(name), english::wording(self, site_name), english::footer(site_name))
            }
            Locale::Es => {
                ("es", spanish::greeting(name), spanish::wording(self, site_name), spanish::footer(site_name))
            }
        };
        let link = self.link().map(|link| link.0.as_str());
        let text = TextLayout { greeting: &greeting, wording: &wording, link, footer: &footer }.render()?;
        let html = HtmlLayout { language, greeting: &greeting, wording: &wording, link, footer: &footer }.render()?;
        Ok(Rendered { subject: wording.subject, text, html })
    }

    fn link(&self) -> Option<&Link> {
        Some(match self {
            Self::Verify { link, .. }
            | Self::RegistrationUnverified { link, .. }
            | Self::Reset { link, .. }
            | Self::ResetForced { link, .. }
            | Self::EmailChangeConfirm { link, .. } => link,
            Self::RegistrationAttempt { reset_page, .. }
            | Self::PasswordChanged { reset_page, .. }
            | Self::PasswordResetDone { reset_page, .. }
            | Self::EmailChanged { reset_page, .. }
            | Self::EmailChangeUndone { reset_page, .. }
            | Self::TokenReused { reset_page, .. } => reset_page,
            Self::EmailChangeNotice { undo, .. } => undo,
            Self::DeletionRequested { cancel, .. } => cancel,
            // Where the console is reached from is nobody's setting.
            Self::SecurityAlert(_) => return None,
        })
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
    greeting: &'a str,
    wording: &'a Wording,
    link: Option<&'a str>,
    footer: &'a str,
}

#[derive(askama::Template)]
#[template(path = "mail.html")]
struct HtmlLayout<'a> {
    language: &'a str,
    greeting: &'a str,
    wording: &'a Wording,
    link: Option<&'a str>,
    footer: &'a str,
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
