//! Where Postgres is and who logs in.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use url::Url;
use zeroize::Zeroizing;

use super::Process;
use super::reader::{Reader, Refused};
use super::registry::{self, Variable};
use super::secret::Secret;

/// Shortest password outside development, in characters. Source: the guide.
const PASSWORD_CHARACTERS_MIN: usize = 16;

/// Pool sizes. Source: docs/SETTINGS.md; the command line works one statement at a time.
const API_CONNECTIONS: u32 = 16;
const WORKER_CONNECTIONS: u32 = 8;
/// One listens, and three parts of it hold a transaction each, at times all at once.
const WORKER_CONNECTIONS_MIN: u32 = 4;
const CLI_CONNECTIONS: u32 = 4;

/// The superuser that every installation has.
const SUPERUSER: &str = "postgres";

/// Parameters about TLS that the driver knows. It ignores others, and a misspelt `sslmode` must not mean clear text.
const TLS_PARAMETERS: [&str; 9] =
    ["sslmode", "ssl-mode", "sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// What stands between Doorbook and Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    None,
    /// One that gives a server to a transaction, not to a session.
    Transaction,
}

#[derive(Debug)]
pub struct Database {
    /// For everything this process does but migrations: a `postgresql://` URL that sqlx parses.
    pub url: Secret,
    /// The owner's login, for migrations alone.
    pub migrate_url: Secret,
    /// For LISTEN, which a pooler in transaction mode does not carry. None: `url` is no pooler's.
    pub direct_url: Option<Secret>,
    pub pooler: Pooler,
    /// Size of the pool.
    pub max_connections: u32,
}

impl Database {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let shared = shared_url(reader);
        let worker = given_url(reader, &registry::WORKER_DATABASE_URL);
        let migrate = given_url(reader, &registry::DATABASE_MIGRATE_URL);
        let direct = given_url(reader, &registry::DATABASE_DIRECT_URL);
        let max_connections = reader.given_whole(&registry::DATABASE_MAX_CONNECTIONS);
        let max_connections = match max_connections {
            Ok(Some(most)) if most < WORKER_CONNECTIONS_MIN && reader.process == Process::Worker => {
                Err(reader.refuse_because(&registry::DATABASE_MAX_CONNECTIONS, "must be at least 4 for a worker"))
            }
            other => other,
        };
        let poolers = [("none", Pooler::None), ("transaction", Pooler::Transaction)];
        let pooler = reader.choice(&registry::DATABASE_POOLER, &poolers);
        let (shared, worker, migrate, direct, pooler) = (shared?, worker?, migrate?, direct?, pooler?);
        let (default_connections, own) = match reader.process {
            Process::Api => (API_CONNECTIONS, None),
            Process::Worker => (WORKER_CONNECTIONS, worker),
            Process::Cli => (CLI_CONNECTIONS, None),
        };
        // A migration cannot go through a pooler in transaction mode.
        let owner = direct.as_ref().filter(|_| pooler == Pooler::Transaction).unwrap_or(&shared);
        Ok(Self {
            migrate_url: migrate.unwrap_or_else(|| Secret::new(owner.expose().clone())),
            url: own.unwrap_or(shared),
            direct_url: direct,
            pooler,
            max_connections: max_connections?.unwrap_or(default_connections),
        })
    }
}

/// `DATABASE_URL`, or else what the `POSTGRES_*` variables make.
fn shared_url(reader: &mut Reader<'_>) -> Result<Secret, Refused> {
    match given_url(reader, &registry::DATABASE_URL)? {
        Some(url) => Ok(url),
        None => composed_url(reader),
    }
}

fn given_url(reader: &mut Reader<'_>, variable: &Variable) -> Result<Option<Secret>, Refused> {
    let Some(url) = reader.secret(variable)? else { return Ok(None) };
    let Some(login) = Login::parse(&url) else { return Err(reader.refuse(variable)) };
    let faults = if reader.debug { Vec::new() } else { login.faults() };
    if faults.is_empty() {
        return Ok(Some(url));
    }
    let rules: Vec<_> = faults.iter().map(|(_, rule)| *rule).collect();
    Err(reader.refuse_because(variable, rules.join(", and ")))
}

fn composed_url(reader: &mut Reader<'_>) -> Result<Secret, Refused> {
    let database = reader.required(&registry::POSTGRES_DB);
    let user = reader.required(&registry::POSTGRES_USER);
    let host = reader.required(&registry::POSTGRES_HOST);
    let port = reader.whole(&registry::POSTGRES_PORT);
    let password = reader.secret(&registry::POSTGRES_PASSWORD)?;
    let (database, user, host, port) = (database?, user?, host?, port?);

    let credentials = Zeroizing::new(match &password {
        Some(password) => format!("{}:{}", percent_encoded(&user), *Zeroizing::new(percent_encoded(password.expose()))),
        None => percent_encoded(&user),
    });
    // A socket and an IPv6 address do not fit the place of the host in a form that the driver takes.
    let (authority, query) = if host.starts_with('/') || host.parse::<Ipv6Addr>().is_ok() {
        ("localhost", format!("?host={}", percent_encoded(&host)))
    } else {
        (host.as_str(), String::new())
    };
    let path = percent_encoded(&database);
    let url = Secret::new(format!("postgresql://{}@{authority}:{port}/{path}{query}", *credentials));
    let is_host = host.starts_with('/') || url::Host::parse(&host).is_ok() || host.parse::<Ipv6Addr>().is_ok();
    let Some(login) = Login::parse(&url).filter(|_| is_host) else {
        return Err(reader.refuse(&registry::POSTGRES_HOST));
    };
    let faults = if reader.debug { Vec::new() } else { login.faults() };
    let mut outcome = Ok(url);
    for (part, _) in faults {
        outcome = Err(match part {
            Part::User => reader.refuse(&registry::POSTGRES_USER),
            Part::Password => reader.refuse(&registry::POSTGRES_PASSWORD),
        });
    }
    outcome
}

/// Who a URL says logs in, and how.
struct Login {
    user: String,
    password: Secret,
    is_socket: bool,
}

enum Part {
    User,
    Password,
}

impl Login {
    /// None unless sqlx takes the URL and it names a database.
    fn parse(secret_url: &Secret) -> Option<Self> {
        let url = Url::parse(secret_url.expose()).ok()?;
        if !matches!(url.scheme(), "postgresql" | "postgres") || url.fragment().is_some() {
            return None;
        }
        let options = PgConnectOptions::from_str(secret_url.expose()).ok()?;
        let has_unknown_tls_parameter =
            url.query_pairs().any(|(name, _)| name.starts_with("ssl") && !TLS_PARAMETERS.contains(&name.as_ref()));
        let parameter = |wanted: &str| {
            let value = url.query_pairs().filter(|(name, _)| name == wanted).last();
            value.map(|(_, value)| value).filter(|value| !value.is_empty())
        };
        let has_database = !url.path().trim_start_matches('/').is_empty() || parameter("dbname").is_some();
        let is_socket = options.get_socket().is_some();
        let has_host = url.has_host() || parameter("host").is_some() || parameter("hostaddr").is_some();
        if has_unknown_tls_parameter || !has_database || !(has_host || is_socket) {
            return None;
        }
        // A parameter wins over the same thing in the authority, as in sqlx.
        let from_authority = |part: &str| percent_decoded(part).map(Cow::Owned);
        let user = parameter("user").or_else(|| from_authority(url.username()))?.into_owned();
        let password =
            parameter("password").or_else(|| from_authority(url.password().unwrap_or_default()))?.into_owned();
        Some(Self { user, password: Secret::new(password), is_socket })
    }

    /// The rules of production that the login breaks.
    fn faults(&self) -> Vec<(Part, &'static str)> {
        let mut faults = Vec::new();
        if self.user == SUPERUSER {
            faults.push((Part::User, "must name a dedicated user, not postgres"));
        } else if self.user.is_empty() && !self.is_socket {
            faults.push((Part::User, "must name a user"));
        }
        if !self.is_socket && self.password.expose().chars().count() < PASSWORD_CHARACTERS_MIN {
            faults.push((Part::Password, "must hold a password of at least 16 characters"));
        }
        faults
    }
}

/// All but letters, digits and `-._~`: safe in every part of a URL. The setters of `url` keep a `%` as it is, which
/// would change a password that contains one.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 0x0f)]);
        }
    }
    encoded
}

/// None if the bytes are not UTF-8, which sqlx refuses as well.
fn percent_decoded(text: &str) -> Option<String> {
    // The decoder of query strings reads a plus as a space; in the authority of a URL it is a plus.
    let pair = Zeroizing::new(format!("={}", text.replace('+', "%2B").replace('&', "%26")));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next()?.1.into_owned();
    (!decoded.contains('\u{fffd}')).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(url: &str) -> Option<Login> {
        Login::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn the_login_is_read_as_the_driver_reads_it() {
        let read = login("postgresql://us%40er:pa%2Bss+%25word&=@db.example.com:5432/name").unwrap();
        assert_eq!((read.user.as_str(), read.password.expose().as_str()), ("us@er", "pa+ss+%word&="));
        let read = login("postgres://a:b@host/name?user=postgres&password=postgres").unwrap();
        assert_eq!((read.user.as_str(), read.password.expose().as_str()), ("postgres", "postgres"));
    }

    #[test]
    fn a_socket_needs_no_password() {
        for url in ["postgresql:///name?host=/run/postgresql", "postgresql://u@%2Frun%2Fpostgresql/name"] {
            let read = login(url).unwrap();
            assert!(read.is_socket && read.faults().is_empty(), "{url}");
        }
    }

    #[test]
    fn the_superuser_is_refused_even_on_a_socket() {
        let faults = login("postgresql://postgres@localhost/name?host=/run/postgresql").unwrap().faults();
        assert!(matches!(faults[..], [(Part::User, "must name a dedicated user, not postgres")]), "not for a password");
    }

    #[test]
    fn a_url_without_database_host_or_known_tls_parameters_is_refused() {
        for url in [
            "mysql://u:p@host/name",
            "postgresql://u:p@host",
            "postgresql:///name",
            "postgresql://u:p@host/name#part",
            "postgresql://u:p@host/name?sslmod=require",
            "postgresql://u:p@host/name?sslmode=maybe",
            "postgresql://u:p@host:99999/name",
            "u:p@host/name",
        ] {
            assert!(login(url).is_none(), "{url}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_to_the_same() {
        let all: String = ('\u{20}'..='\u{ff}').collect();
        assert_eq!(percent_decoded(&percent_encoded(&all)), Some(all));
    }
}
