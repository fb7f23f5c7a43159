//! How mail leaves, and from whom.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Reader, Refused};
use super::registry;
use super::secret::Secret;

/// Ports. Source: RFC 6409, 3.1 (submission); RFC 8314, 3.3 (implicit TLS).
const SUBMISSION_PORT: u16 = 587;
const IMPLICIT_TLS_PORT: u16 = 465;

/// Longest address and local part, in bytes. Source: RFC 5321, 4.5.3.1.
const ADDRESS_BYTES_MAX: usize = 254;
const LOCAL_PART_BYTES_MAX: usize = 64;

/// Longest display name, in bytes: one header line with room to spare. Source: RFC 5322, 2.1.1.
const DISPLAY_NAME_BYTES_MAX: usize = 256;

#[derive(Debug)]
pub struct Mail {
    pub backend: MailBackend,
    pub from: Mailbox,
    /// None: the built-in wording.
    pub templates_dir: Option<PathBuf>,
}

#[derive(Debug)]
pub enum MailBackend {
    Smtp(Smtp),
    /// Development: mails are printed.
    Console,
    /// Development: one `.eml` a message.
    File {
        directory: PathBuf,
    },
}

#[derive(Debug)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: SmtpSecurity,
    pub login: Option<SmtpLogin>,
    /// PEM certificates of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// For each command.
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// STARTTLS or nothing.
    StartTls,
    /// TLS from the first byte.
    ImplicitTls,
    ClearText,
}

#[derive(Debug)]
pub struct SmtpLogin {
    pub user: String,
    pub password: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Display name, without quotes.
    pub name: Option<String>,
    pub address: String,
}

#[derive(Clone, Copy)]
enum BackendKind {
    Smtp,
    Console,
    File,
}

const BACKENDS: [(&str, BackendKind); 6] = [
    ("smtp", BackendKind::Smtp),
    ("console", BackendKind::Console),
    ("file", BackendKind::File),
    ("smtp.EmailBackend", BackendKind::Smtp),
    ("console.EmailBackend", BackendKind::Console),
    ("filebased.EmailBackend", BackendKind::File),
];

impl Mail {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let kind = backend_kind(reader);
        let directory = reader.required(&registry::EMAIL_FILE_PATH);
        let from = reader.parsed(&registry::DEFAULT_FROM_EMAIL, Mailbox::parse);
        let templates_dir = reader.given_parsed(&registry::MAIL_TEMPLATES_DIR, |text| {
            std::fs::read_dir(text).is_ok().then(|| PathBuf::from(text))
        });
        let backend = match kind? {
            BackendKind::Smtp => MailBackend::Smtp(Smtp::read(reader)?),
            BackendKind::Console => MailBackend::Console,
            BackendKind::File => MailBackend::File { directory: directory?.into() },
        };
        Ok(Self { backend, from: from?, templates_dir: templates_dir? })
    }
}

fn backend_kind(reader: &mut Reader<'_>) -> Result<BackendKind, Refused> {
    let variable = &registry::EMAIL_BACKEND;
    let Some(text) = reader.text(variable)? else {
        return Ok(if reader.debug { BackendKind::Console } else { BackendKind::Smtp });
    };
    // The last two parts of a path such as django.core.mail.backends.smtp.EmailBackend.
    let class = text.rmatch_indices('.').nth(1).map_or(text.as_str(), |(dot, _)| &text[dot + 1..]);
    match BACKENDS.iter().find(|(name, _)| *name == class) {
        Some((_, BackendKind::Smtp)) => Ok(BackendKind::Smtp),
        Some((_, kind)) if reader.debug => Ok(*kind),
        _ => Err(reader.refuse(variable)),
    }
}

impl Smtp {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let host = reader.parsed(&registry::EMAIL_HOST, |text| url::Host::parse(text).ok().map(|_| text.to_owned()));
        let port = reader.given_whole(&registry::EMAIL_PORT);
        let security = security(reader, host.as_deref().is_ok_and(is_loopback));
        let login = login(reader);
        let ca_file = readable_file(reader);
        let timeout = reader.seconds(&registry::EMAIL_TIMEOUT_SECONDS);
        let security = security?;
        let default_port = if security == SmtpSecurity::ImplicitTls { IMPLICIT_TLS_PORT } else { SUBMISSION_PORT };
        let port = match port?.map(u16::try_from) {
            None => default_port,
            Some(Ok(port)) => port,
            Some(Err(_)) => return Err(reader.refuse(&registry::EMAIL_PORT)),
        };
        Ok(Self { host: host?, port, security, login: login?, ca_file: ca_file?, timeout: timeout? })
    }
}

fn security(reader: &mut Reader<'_>, is_loopback: bool) -> Result<SmtpSecurity, Refused> {
    let start_tls = reader.given_flag(&registry::EMAIL_USE_TLS);
    let implicit_tls = reader.flag(&registry::EMAIL_USE_SSL)?;
    match (start_tls?, implicit_tls) {
        (Some(true), true) => {
            Err(reader.refuse_because(&registry::EMAIL_USE_SSL, "must not be True together with EMAIL_USE_TLS"))
        }
        (_, true) => Ok(SmtpSecurity::ImplicitTls),
        (None | Some(true), false) => Ok(SmtpSecurity::StartTls),
        (Some(false), false) if reader.debug || is_loopback => Ok(SmtpSecurity::ClearText),
        (Some(false), false) => {
            let rule = "must be True, or EMAIL_USE_SSL must be, unless EMAIL_HOST is this machine";
            Err(reader.refuse_because(&registry::EMAIL_USE_TLS, rule))
        }
    }
}

/// True for what can only be this machine. Another name may resolve to it today and elsewhere tomorrow.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn login(reader: &mut Reader<'_>) -> Result<Option<SmtpLogin>, Refused> {
    let user = reader.text(&registry::EMAIL_HOST_USER);
    let password = reader.secret(&registry::EMAIL_HOST_PASSWORD)?;
    match (user?, password) {
        (Some(user), Some(password)) => Ok(Some(SmtpLogin { user, password })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(reader.missing(&registry::EMAIL_HOST_PASSWORD)),
        (None, Some(_)) => Err(reader.missing(&registry::EMAIL_HOST_USER)),
    }
}

fn readable_file(reader: &mut Reader<'_>) -> Result<Option<PathBuf>, Refused> {
    let Some(path) = reader.text(&registry::EMAIL_CA_FILE)?.map(PathBuf::from) else { return Ok(None) };
    if path.is_file() { Ok(Some(path)) } else { Err(reader.refuse(&registry::EMAIL_CA_FILE)) }
}

impl Mailbox {
    /// `address`, `<address>`, `Name <address>` or `"Name" <address>`.
    fn parse(text: &str) -> Option<Self> {
        let Some(before) = text.strip_suffix('>') else {
            return is_address(text).then(|| Self { name: None, address: text.to_owned() });
        };
        let (name, address) = before.rsplit_once('<')?;
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(name);
        let is_name = name.len() <= DISPLAY_NAME_BYTES_MAX
            && !name.contains(['"', '<', '>', '\\'])
            && !name.contains(char::is_control);
        let name = (!name.is_empty()).then(|| name.to_owned());
        (is_name && is_address(address)).then(|| Self { name, address: address.to_owned() })
    }
}

/// True for an address that every mail server takes: dot-atom, and a domain that needs no SMTPUTF8.
pub(super) fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= ADDRESS_BYTES_MAX
        && local.len() <= LOCAL_PART_BYTES_MAX
        && local.split('.').all(is_atom)
        && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_may_have_a_display_name() {
        let mailbox =
            |name: Option<&str>| Mailbox { name: name.map(str::to_owned), address: "noreply@example.com".to_owned() };
        assert_eq!(Mailbox::parse("noreply@example.com"), Some(mailbox(None)));
        assert_eq!(Mailbox::parse("<noreply@example.com>"), Some(mailbox(None)));
        assert_eq!(Mailbox::parse("Señal Audio <noreply@example.com>"), Some(mailbox(Some("Señal Audio"))));
        assert_eq!(Mailbox::parse("\"Audio, Ltd.\" <noreply@example.com>"), Some(mailbox(Some("Audio, Ltd."))));
    }

    #[test]
    fn what_could_forge_a_header_is_no_mailbox() {
        for text in [
            "noreply",
            "@example.com",
            "noreply@",
            "a@b@example.com",
            "a..b@example.com",
            "noreply@-example.com",
            "noreply@example..com",
            "Name noreply@example.com",
            "Name <noreply@example.com",
            "A\r\nBcc: x <noreply@example.com>",
            "A <x@example.com> <noreply@example.com>",
            "noreply@example.com\nBcc: x@example.com",
        ] {
            assert_eq!(Mailbox::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_names_and_addresses_of_this_machine_are_loopback() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "mail", "127.0.0.1.example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
