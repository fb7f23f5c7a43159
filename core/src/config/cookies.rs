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
    /// Read and checked, as Django's settings have them; no such cookie is set. Tokens against forged requests stand in forms and answers.
    pub csrf: CookieAttributes,
}

impl Cookies {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let http_only = needed(reader, &registry::SESSION_COOKIE_HTTPONLY);
        let session =
            attributes(reader, &registry::SESSION_COOKIE_SECURE, http_only, &registry::SESSION_COOKIE_SAMESITE);
        // Where scripts of a page repeat Django's cookie, it may say so here as well.
        let http_only = reader.flag(&registry::CSRF_COOKIE_HTTPONLY);
        let csrf = attributes(reader, &registry::CSRF_COOKIE_SECURE, http_only, &registry::CSRF_COOKIE_SAMESITE);
        Ok(Self { session: session?, csrf: csrf? })
    }
}

fn attributes(
    reader: &mut Reader<'_>,
    secure: &Variable,
    http_only: Result<bool, Refused>,
    same_site: &Variable,
) -> Result<CookieAttributes, Refused> {
    let secure = needed(reader, secure);
    let same_site = reader.choice(same_site, &[("Strict", SameSite::Strict), ("Lax", SameSite::Lax)]);
    Ok(CookieAttributes { secure: secure?, http_only: http_only?, same_site: same_site? })
}

/// A flag that production does not go without.
fn needed(reader: &mut Reader<'_>, variable: &Variable) -> Result<bool, Refused> {
    let is_set = reader.flag(variable)?;
    if is_set || reader.debug {
        return Ok(is_set);
    }
    Err(reader.refuse_because(variable, "must be True unless DEBUG is True"))
}
