//! Cookies that hold tokens, out of reach for scripts; and cookie mode, where the refresh token is in one: what a request must show
//! before the cookie counts.

use poem::{
    FromRequest, Request, RequestBody,
    http::{HeaderName, header},
};

use crate::{
    config::{CookieConfig, SameSite},
    middleware::cors::CallerOrigin,
    problem::Problem,
};

/// The prefix makes browsers insist on Secure, on this very host and on all of its paths: no sibling host can plant the cookie. It is
/// left out in development over plain http, where no browser takes such a cookie.
const HOST_PREFIX: &str = "__Host-";

const REFRESH: &str = "doorbook-refresh";

const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// What a browser shall forget at logout. Source: W3C Clear Site Data, section 3.1.
pub const CLEAR_SITE_DATA: &str = "\"cache\", \"cookies\", \"storage\"";

/// Longest cookie value and longest token in a header looked at, in bytes; ours are under 100.
const TOKEN_MAX: usize = 200;

/// How a cookie with a token looks.
#[derive(Clone, Copy)]
pub struct TokenCookie {
    config: CookieConfig,
    name: &'static str,
    /// Longest value looked at, in bytes.
    length_max: usize,
}

impl TokenCookie {
    /// The refresh token of cookie mode.
    pub const fn refresh(config: CookieConfig) -> Self {
        Self::new(config, REFRESH, TOKEN_MAX)
    }

    pub const fn new(config: CookieConfig, name: &'static str, length_max: usize) -> Self {
        Self { config, name, length_max }
    }

    const fn prefix(self) -> &'static str {
        if self.config.secure { HOST_PREFIX } else { "" }
    }

    /// The Set-Cookie header that keeps `value` for so many seconds.
    pub fn set(self, value: &str, seconds: u64) -> String {
        let secure = if self.config.secure { "; Secure" } else { "" };
        let http_only = if self.config.http_only { "; HttpOnly" } else { "" };
        let same_site = match self.config.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
        };
        let (prefix, name) = (self.prefix(), self.name);
        format!("{prefix}{name}={value}; Path=/; Max-Age={seconds}{secure}{http_only}; SameSite={same_site}")
    }

    /// The Set-Cookie header that takes the cookie away.
    pub fn clear(self) -> String {
        self.set("", 0)
    }

    /// The cookie's value; `None` when it is not there, empty or there twice.
    pub fn find(self, request: &Request) -> Option<String> {
        let lines = request.headers().get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let is_ours = |name: &str| name.strip_prefix(self.prefix()) == Some(self.name);
        let mut values = pairs.filter(|(name, _)| is_ours(name)).map(|(_, value)| value);
        let (value, None) = (values.next()?, values.next()) else { return None };
        (!value.is_empty() && value.len() <= self.length_max).then(|| value.to_owned())
    }
}

/// What a request brings of cookie mode.
pub struct CookieMode {
    pub cookie: TokenCookie,
    /// The refresh token of the cookie.
    pub refresh: Option<String>,
    origin: CallerOrigin,
    csrf: Option<String>,
}

impl<'a> FromRequest<'a> for CookieMode {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let cookie = *request.data::<TokenCookie>().ok_or_else(Problem::internal)?;
        let origin = *request.data::<CallerOrigin>().ok_or_else(Problem::internal)?;
        let mut tokens = request.headers().get_all(CSRF_TOKEN).iter();
        let csrf = match (tokens.next().map(|token| token.to_str()), tokens.next()) {
            (Some(Ok(token)), None) if token.len() <= TOKEN_MAX => Some(token.to_owned()),
            _ => None,
        };
        Ok(Self { cookie, refresh: cookie.find(request), origin, csrf })
    }
}

impl CookieMode {
    /// Whether a page speaks of a cookie that is not there any more: it went with the session's time, or at an earlier logout.
    pub const fn has_lost_cookie(&self) -> bool {
        self.refresh.is_none() && self.csrf.is_some()
    }

    /// Refuses a page of another origin. Programs that are no browsers send none and are let through.
    pub fn no_foreign_page(&self) -> Result<(), Problem> {
        if self.origin == CallerOrigin::Foreign { Err(Problem::origin_not_allowed()) } else { Ok(()) }
    }

    /// The cookie's refresh token and the token against forged requests. A browser attaches the cookie to whatever a page asks
    /// for, so both the page's origin and a token that only our own pages can read are demanded.
    pub fn proven(&self) -> Result<(String, String), Problem> {
        let refresh = self.refresh.clone().ok_or_else(Problem::unauthorized)?;
        if !matches!(self.origin, CallerOrigin::Own | CallerOrigin::Listed) {
            return Err(Problem::origin_not_allowed());
        }
        let csrf = self.csrf.clone().ok_or_else(Problem::forged)?;
        Ok((refresh, csrf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(secure: bool) -> TokenCookie {
        TokenCookie::refresh(CookieConfig { secure, http_only: true, same_site: SameSite::Strict })
    }

    fn found(lines: &[&str]) -> Option<String> {
        let mut request = Request::default();
        for line in lines {
            request.headers_mut().append(header::COOKIE, line.parse().unwrap());
        }
        cookie(true).find(&request)
    }

    #[test]
    fn the_cookie_is_bound_to_its_host_and_out_of_reach_for_scripts() {
        let expected = "__Host-doorbook-refresh=dbr_x; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict";
        assert_eq!(cookie(true).set("dbr_x", 60), expected);
        assert_eq!(
            cookie(false).set("dbr_x", 60),
            "doorbook-refresh=dbr_x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
        );
        assert!(cookie(true).clear().contains("=; Path=/; Max-Age=0; Secure"));
    }

    #[test]
    fn only_one_cookie_of_exactly_that_name_counts() {
        assert_eq!(found(&["a=b; __Host-doorbook-refresh=x; c=d"]).as_deref(), Some("x"));
        assert_eq!(found(&["a=b", "__Host-doorbook-refresh=x"]).as_deref(), Some("x"));
        for lines in [
            &[][..],
            &["doorbook-refresh=x"],
            &["__host-doorbook-refresh=x"],
            &["__Host-doorbook-refresh="],
            &["__Host-doorbook-refresh=x; __Host-doorbook-refresh=x"],
            &["__Host-doorbook-refresh=x", "__Host-doorbook-refresh=y"],
            &["x__Host-doorbook-refresh=x"],
        ] {
            assert_eq!(found(lines), None, "{lines:?}");
        }
    }
}
