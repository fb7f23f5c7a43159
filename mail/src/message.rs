//! From a rendered mail to a message: one sender, one recipient, one Message-ID.

use std::fmt;
use std::time::SystemTime;

use lettre::address::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::template::Rendered;

/// Longest address accepted, in bytes. Source: RFC 5321, 4.5.3.1.3, less the angle brackets.
const ADDRESS_LENGTH_MAX: usize = 254;
/// Longest display name of the sender, in bytes. Ours: what mail programs still show.
const DISPLAY_NAME_LENGTH_MAX: usize = 128;
/// Longest Message-ID with its angle brackets, in bytes. Ours: leaves the header on one line of 998 bytes (RFC 5322,
/// 2.1.1) with a wide margin.
const MESSAGE_ID_LENGTH_MAX: usize = 320;
/// Longest subject, in characters. Ours: a host name of 253 bytes and our words around it fit.
const SUBJECT_LENGTH_MAX: usize = 400;
/// Last second of the year 9999: what the Date header can still say (RFC 5322, 3.3 has four digits for us).
const DATE_MAX_UNIX_SECONDS: i64 = 253_402_300_799;

/// Why a message could not be built. Never repeats its input: addresses are personal data.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("the sender is not a mailbox such as `Name <name@example.com>`")]
    Sender,
    #[error("the recipient is not exactly one e-mail address")]
    Recipient,
    #[error("the Message-ID does not have the form <local@domain>")]
    MessageId,
    #[error("the date is outside the years 1970 to 9999")]
    Date,
    #[error("the subject is empty, too long or has control characters")]
    Subject,
    #[error("the message could not be put together: {0}")]
    Format(#[from] lettre::error::Error),
}

/// The mailbox mails come from, a display name allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender(Mailbox);

impl Sender {
    /// Parses `name@example.com`, `Name <name@example.com>` or `"Name, with comma" <name@example.com>`.
    ///
    /// Not lettre's own parser: that one ignores what follows the first mailbox.
    pub fn parse(mailbox: &str) -> Result<Self, MessageError> {
        let mailbox = mailbox.trim();
        let Some(bracketed) = mailbox.strip_suffix('>') else {
            return Ok(Self(Mailbox::new(None, address(mailbox).ok_or(MessageError::Sender)?)));
        };
        let (name, spec) = bracketed.rsplit_once('<').ok_or(MessageError::Sender)?;
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(name);
        if name.len() > DISPLAY_NAME_LENGTH_MAX || name.chars().any(|c| c.is_control() || "\"<>\\".contains(c)) {
            return Err(MessageError::Sender);
        }
        let name = (!name.is_empty()).then(|| name.to_owned());
        Ok(Self(Mailbox::new(name, address(spec).ok_or(MessageError::Sender)?)))
    }

    /// The part of the sender's address after the `@`.
    pub fn domain(&self) -> &str {
        self.0.email.domain()
    }
}

/// The Message-ID with its angle brackets. The caller stores it with the delivery, so that every attempt carries the
/// same one and receivers can recognise a mail that came twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageId(String);

impl MessageId {
    /// The id of the mail of one delivery, in the sender's domain as RFC 5322, 3.6.4 recommends.
    pub fn for_delivery(delivery: Uuid, sender: &Sender) -> Self {
        // A domain outside ASCII is legal in an address but not in a Message-ID.
        let domain = if sender.domain().is_ascii() { sender.domain() } else { "mail.invalid" };
        Self(format!("<{}@{domain}>", delivery.as_simple()))
    }

    /// Parses an id stored earlier.
    pub fn parse(id: &str) -> Result<Self, MessageError> {
        let inner = id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).ok_or(MessageError::MessageId)?;
        let (local, domain) = inner.split_once('@').ok_or(MessageError::MessageId)?;
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+=[]:".contains(&b))
        };
        if id.len() > MESSAGE_ID_LENGTH_MAX || !plain(local) || !plain(domain) {
            return Err(MessageError::MessageId);
        }
        Ok(Self(id.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One mail, ready to leave. Holds a link with a token in most cases, hence no `Debug` of its content.
pub struct OutgoingMail {
    pub(crate) message_id: MessageId,
    pub(crate) date: OffsetDateTime,
    pub(crate) sender: Address,
    pub(crate) recipient: Address,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) formatted: Vec<u8>,
}

impl OutgoingMail {
    /// Builds the message for exactly one recipient.
    ///
    /// The `To` header has the bare address: a name chosen by a stranger has no place in a header.
    pub fn compose(
        sender: &Sender,
        recipient: &str,
        message_id: &MessageId,
        date: OffsetDateTime,
        rendered: &Rendered,
    ) -> Result<Self, MessageError> {
        let recipient = address(recipient).ok_or(MessageError::Recipient)?;
        check_subject(&rendered.subject)?;
        let message = Message::builder()
            .from(sender.0.clone())
            .to(Mailbox::new(None, recipient.clone()))
            .subject(rendered.subject.clone())
            .date(header_date(date)?)
            .message_id(Some(message_id.0.clone()))
            // RFC 3834, 5: keeps holiday notices and other robots from answering.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(rendered.text.clone(), rendered.html.clone()))?;
        Ok(Self {
            message_id: message_id.clone(),
            date,
            sender: sender.0.email.clone(),
            recipient,
            subject: rendered.subject.clone(),
            text: rendered.text.clone(),
            formatted: message.formatted(),
        })
    }

    pub fn message_id(&self) -> &MessageId {
        &self.message_id
    }

    /// Where the recipient's mailbox is.
    pub fn recipient_domain(&self) -> &str {
        self.recipient.domain()
    }

    /// The message as it is sent: headers and body, lines ended by CRLF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.formatted
    }
}

impl fmt::Debug for OutgoingMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingMail").field("message_id", &self.message_id.0).finish_non_exhaustive()
    }
}

/// One address, or nothing: lists, names, comments, white space and line breaks are refused before lettre sees them.
fn address(text: &str) -> Option<Address> {
    let strange = |c: char| c.is_control() || c.is_whitespace() || "<>()\",;:\\".contains(c);
    let domain = text.rsplit_once('@')?.1;
    let literal = domain.starts_with('[') && domain.ends_with(']');
    let checked = if literal { text.replace(':', "") } else { text.to_owned() };
    if text.len() > ADDRESS_LENGTH_MAX || checked.chars().any(strange) {
        return None;
    }
    text.parse().ok()
}

fn check_subject(subject: &str) -> Result<(), MessageError> {
    let length = subject.chars().count();
    if length == 0 || length > SUBJECT_LENGTH_MAX || subject.chars().any(char::is_control) {
        return Err(MessageError::Subject);
    }
    Ok(())
}

/// The range check matters: lettre's date formatter panics outside it.
fn header_date(date: OffsetDateTime) -> Result<SystemTime, MessageError> {
    if (0..=DATE_MAX_UNIX_SECONDS).contains(&date.unix_timestamp()) {
        Ok(SystemTime::from(date))
    } else {
        Err(MessageError::Date)
    }
}
