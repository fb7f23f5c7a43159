//! Attributes of the cookies that this service sets.

use super::reader::{Reader, Refused};
use super::registry::{self, Variable};

/// When a browser may send a cookie along with a request that another site has caused. `None` is no choice: such a cookie
/// would go with every request that any page makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
}

#[derive(Debug, Clone, Copy)]
pub struct CookieAttributes {
    /// False in development only. While it is true, the name begins with `__Host-`.
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
}

#[derive(Debug)]
pub struct Cookies {
    /// Cookies that stand for a session: the refresh token of cookie mode and the login of the audit console.
    pub session: CookieAttributes,
    /// The audit console's token against forged requests. Cookie mode has no such cookie: the API's answers carry its token.
    pub csrf: CookieAttributes,
}

impl Cookies {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let session = attributes(
            reader,
            &registry::SESSION_COOKIE_SECURE,
            &registry::SESSION_COOKIE_HTTPONLY,
            &registry::SESSION_COOKIE_SAMESITE,
        );
        // A page's script must be able to repeat this one, when an operator wants it so.
        let csrf = attributes(
            reader,
            &registry::CSRF_COOKIE_SECURE,
            &registry::CSRF_COOKIE_HTTPONLY,
            &registry::CSRF_COOKIE_SAMESITE,
        );
        let (session, csrf) = (session?, csrf?);
        if !session.http_only && !reader.debug {
            return Err(reader.refuse_because(&registry::SESSION_COOKIE_HTTPONLY, "must be True unless DEBUG is True"));
        }
        Ok(Self { session, csrf })
    }
}

fn attributes(
    reader: &mut Reader<'_>,
    secure: &Variable,
    http_only: &Variable,
    same_site: &Variable,
) -> Result<CookieAttributes, Refused> {
    let is_secure = reader.flag(secure);
    let http_only = reader.flag(http_only);
    let same_site = reader.choice(same_site, &[("Strict", SameSite::Strict), ("Lax", SameSite::Lax)]);
    let attributes = CookieAttributes { secure: is_secure?, http_only: http_only?, same_site: same_site? };
    if !attributes.secure && !reader.debug {
        return Err(reader.refuse_because(secure, "must be True unless DEBUG is True"));
    }
    Ok(attributes)
}
