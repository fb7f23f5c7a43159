//! Which hosts are served. Only the request line and the Host header count; X-Forwarded-Host never does.

use poem::{
    Request,
    http::{HeaderMap, Uri, header},
};

use crate::problem::Problem;

/// Longest name, in bytes. Source: RFC 1035, section 2.3.4.
const NAME_MAX: usize = 253;

/// The allow-list, as Django's `ALLOWED_HOSTS` means it, without `*`.
pub struct AllowedHosts(Vec<String>);

/// The name in an allowed Host, without the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AllowedHosts {
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect())
    }

    /// The one allowed host of the request. Missing, repeated, malformed or other than the request line's: 400.
    pub fn check(&self, request: &Request) -> Result<Host, Problem> {
        self.host(request.headers(), request.original_uri()).ok_or_else(Problem::bad_host)
    }

    fn host(&self, headers: &HeaderMap, target: &Uri) -> Option<Host> {
        let mut values = headers.get_all(header::HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let value = value.to_str().ok()?;
        if target.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(value)) {
            return None;
        }
        let name = name(value)?;
        self.allows(&name).then_some(Host(name))
    }

    fn allows(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_prefix('.') {
            Some(domain) => name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            None => pattern == name,
        })
    }
}

/// The lower-case name of `host[:port]`: a DNS name without trailing dot, an IPv4 or a bracketed IPv6 address.
fn name(host: &str) -> Option<String> {
    let split = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at(split);
    if !port.is_empty() {
        let digits = port.strip_prefix(':')?;
        let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten()?;
    }
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let known = address.map_or_else(|| is_dns_name(name), |address| address.parse::<std::net::Ipv6Addr>().is_ok());
    known.then(|| name.to_ascii_lowercase())
}

fn is_dns_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.len() <= NAME_MAX && name.split('.').all(|label| !label.is_empty() && label.bytes().all(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, hosts: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        let allowed = AllowedHosts::new(&["auth.example.com", ".example.org", "[::1]", "127.0.0.1"].map(str::to_owned));
        allowed.host(&headers, &target.parse().unwrap()).map(|host| host.0)
    }

    #[test]
    fn listed_hosts_are_served_on_any_port() {
        for (host, name) in [
            ("auth.example.com", "auth.example.com"),
            ("AUTH.Example.com:8000", "auth.example.com"),
            ("example.org", "example.org"),
            ("a.b.example.org:1", "a.b.example.org"),
            ("[::1]:8000", "[::1]"),
            ("127.0.0.1:65535", "127.0.0.1"),
        ] {
            assert_eq!(check("/", &[host]).as_deref(), Some(name), "{host}");
        }
        let absolute = check("http://auth.example.com/x", &["auth.example.com"]);
        assert_eq!(absolute.as_deref(), Some("auth.example.com"));
    }

    #[test]
    fn every_other_host_is_refused() {
        for host in [
            "",
            "example.com",
            "evil.com",
            "sub.auth.example.com",
            "evilexample.org",
            "auth.example.com.",
            ".example.org",
            "a..example.org",
            "auth.example.com:",
            "auth.example.com:x",
            "auth.example.com:+80",
            "auth.example.com:65536",
            "auth.example.com:80:80",
            "user@auth.example.com",
            "auth.example.com@evil.com",
            "auth.example.com/evil",
            "auth.example.com evil.com",
            "auth.example.com,evil.com",
            "auth.example.com\t",
            "[::2]",
            "::1",
            "[::1",
            "[auth.example.com]",
            "127.0.0.2",
            "127.1",
        ] {
            assert_eq!(check("/", &[host]), None, "{host:?}");
        }
    }

    #[test]
    fn the_host_must_be_one_and_agree_with_the_request_line() {
        assert_eq!(check("/", &[]), None);
        assert_eq!(check("/", &["auth.example.com", "auth.example.com"]), None);
        assert_eq!(check("http://evil.com/", &["auth.example.com"]), None);
        assert_eq!(check("http://auth.example.com/", &["evil.com"]), None);
        assert_eq!(check("http://auth.example.com:81/", &["auth.example.com"]), None);
        assert_eq!(check("http://user@auth.example.com/", &["auth.example.com"]), None);
    }
}
