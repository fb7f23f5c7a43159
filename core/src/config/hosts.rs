//! The hosts that the api answers for.

use std::net::Ipv6Addr;

/// Longest host name, in characters. Source: RFC 1035, 2.3.4, as text without the final dot.
const HOST_CHARACTERS_MAX: usize = 253;

/// `ALLOWED_HOSTS` with Django's meaning, but for `*`, which is refused.
#[derive(Debug, Clone)]
pub struct AllowedHosts(Vec<AllowedHost>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AllowedHost {
    /// Lower case; an IPv6 address in its shortest form with brackets.
    Exact(String),
    /// Lower case, with the leading dot: the domain and everything below it.
    Domain(String),
}

impl AllowedHosts {
    pub(super) fn new(hosts: Vec<AllowedHost>) -> Self {
        Self(hosts)
    }

    /// The entries as they are written: `example.com`, `.example.com` with subdomains.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|host| match host {
            AllowedHost::Exact(name) | AllowedHost::Domain(name) => name.as_str(),
        })
    }

    /// Whether the api answers for this value of `Host` or `:authority`, with or without a port.
    pub fn allows(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else { return false };
        self.0.iter().any(|allowed| match allowed {
            AllowedHost::Exact(name) => *name == host,
            AllowedHost::Domain(suffix) => host.ends_with(suffix.as_str()) || host == suffix[1..],
        })
    }
}

impl AllowedHost {
    pub(super) fn parse(entry: &str) -> Option<Self> {
        if let Some(domain) = entry.strip_prefix('.') {
            let name = host_name(domain)?;
            return Some(Self::Domain(format!(".{name}")));
        }
        ipv6_literal(entry).or_else(|| host_name(entry)).map(Self::Exact)
    }
}

/// The host without port, lower case and without a final dot; none if the text is not exactly a host and a port.
fn host_of(authority: &str) -> Option<String> {
    let (host, port) = match authority.rfind(']') {
        Some(bracket) => authority.split_at(bracket + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |text: &str| text.strip_prefix(':').is_some_and(|digits| is_number(digits, u16::MAX.into()));
    if !(port.is_empty() || is_port(port)) {
        return None;
    }
    ipv6_literal(host).or_else(|| host_name(host.strip_suffix('.').unwrap_or(host)))
}

fn ipv6_literal(text: &str) -> Option<String> {
    let address: Ipv6Addr = text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(format!("[{address}]"))
}

/// A name or an IPv4 address; names in other scripts are given as they travel, in punycode.
fn host_name(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    (text.len() <= HOST_CHARACTERS_MAX && text.split('.').all(is_label)).then(|| text.to_ascii_lowercase())
}

fn is_number(digits: &str, max: u32) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u32>().is_ok_and(|number| number <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(entries: &[&str]) -> AllowedHosts {
        AllowedHosts::new(entries.iter().map(|entry| AllowedHost::parse(entry).unwrap()).collect())
    }

    #[test]
    fn an_exact_host_is_allowed_in_any_case_with_any_port_and_a_final_dot() {
        let hosts = hosts(&["api.Example.com", "127.0.0.1", "[0:0::1]"]);
        for allowed in
            ["api.example.com", "API.EXAMPLE.COM:8000", "api.example.com.", "127.0.0.1:80", "[::1]", "[::1]:8000"]
        {
            assert!(hosts.allows(allowed), "{allowed}");
        }
        for refused in ["example.com", "x.api.example.com", "api.example.com.evil.test", "127.0.0.2", "::1", "[::2]"] {
            assert!(!hosts.allows(refused), "{refused}");
        }
    }

    #[test]
    fn a_leading_dot_means_the_domain_and_its_subdomains() {
        let hosts = hosts(&[".example.com"]);
        for allowed in ["example.com", "a.example.com", "a.b.example.com:443"] {
            assert!(hosts.allows(allowed), "{allowed}");
        }
        for refused in ["notexample.com", ".example.com", "com", "example.com.evil.test", "a..example.com"] {
            assert!(!hosts.allows(refused), "{refused}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_host_and_a_port_is_never_allowed() {
        let hosts = hosts(&["example.com", "[::1]"]);
        for refused in [
            "",
            ":80",
            "example.com:",
            "example.com:80:80",
            "example.com:+80",
            "example.com:99999",
            "example.com/",
            "example.com, example.com",
            "user@example.com",
            " example.com",
            "example.com..",
            "[::1",
            "[::1]80",
            "exämple.com",
        ] {
            assert!(!hosts.allows(refused), "{refused}");
        }
    }

    #[test]
    fn stars_schemes_ports_and_paths_are_no_entries() {
        for entry in
            ["*", "*.example.com", "https://example.com", "example.com:80", "example.com/x", ".", "", "::1", "a..b"]
        {
            assert_eq!(AllowedHost::parse(entry), None, "{entry}");
        }
    }
}
