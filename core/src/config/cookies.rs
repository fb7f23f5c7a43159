//! Attributes of the cookies that browsers get.

use super::reader::{Reader, Refused};
use super::registry::{self, Variable};

#[derive(Debug, Clone, Copy)]
pub struct Cookies {
    pub session: CookieAttributes,
    pub csrf: CookieAttributes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieAttributes {
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

impl Cookies {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let session = CookieAttributes::read(
            reader,
            &registry::SESSION_COOKIE_SECURE,
            &registry::SESSION_COOKIE_HTTPONLY,
            &registry::SESSION_COOKIE_SAMESITE,
        );
        let csrf = CookieAttributes::read(
            reader,
            &registry::CSRF_COOKIE_SECURE,
            &registry::CSRF_COOKIE_HTTPONLY,
            &registry::CSRF_COOKIE_SAMESITE,
        );
        Ok(Self { session: session?, csrf: csrf? })
    }
}

impl CookieAttributes {
    fn read(
        reader: &mut Reader<'_>,
        secure: &Variable,
        http_only: &Variable,
        same_site: &Variable,
    ) -> Result<Self, Refused> {
        let choices = [("Strict", SameSite::Strict), ("Lax", SameSite::Lax), ("None", SameSite::None)];
        let (secure, http_only, same) =
            (reader.flag(secure), reader.flag(http_only), reader.choice(same_site, &choices));
        let read = Self { secure: secure?, http_only: http_only?, same_site: same? };
        // Browsers drop such a cookie, and every login with it.
        if read.same_site == SameSite::None && !read.secure {
            return Err(reader.refuse(same_site));
        }
        Ok(read)
    }
}
