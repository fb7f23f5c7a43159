//! Where Redis is.

use url::Url;

use super::reader::{Reader, Refused};
use super::registry;
use super::secret::Secret;

#[derive(Debug)]
pub struct Redis {
    /// A `redis://` or `rediss://` URL; a secret, since it may hold a password.
    pub url: Secret,
}

impl Redis {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let url = reader.required_secret(&registry::REDIS_URL)?;
        if is_redis_url(url.expose()) { Ok(Self { url }) } else { Err(reader.refuse(&registry::REDIS_URL)) }
    }
}

fn is_redis_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let database = url.path().trim_start_matches('/');
    matches!(url.scheme(), "redis" | "rediss")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && (database.is_empty() || (database.bytes().all(|byte| byte.is_ascii_digit()) && database.parse::<u16>().is_ok()))
        // To the client, the fragment `#insecure` means not to check the server's certificate.
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_are_taken_with_or_without_login_and_number() {
        for url in ["redis://127.0.0.1:6379/0", "rediss://user:password@cache.example.com", "redis://[::1]:6379/3"] {
            assert!(is_redis_url(url), "{url}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for url in [
            "127.0.0.1:6379",
            "http://127.0.0.1:6379/0",
            "redis:///0",
            "redis://host/zero",
            "redis://host/+1",
            "redis://host:99999/0",
            "rediss://host/0#insecure",
        ] {
            assert!(!is_redis_url(url), "{url}");
        }
    }
}
