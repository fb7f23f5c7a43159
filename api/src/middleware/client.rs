//! Who is asking, and over which scheme: from the socket and from the proxies that are trusted to tell.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use poem::{
    FromRequest, Request, RequestBody,
    http::{HeaderMap, HeaderName},
};

use crate::problem::Problem;

/// Longest chain of proxies followed; what is longer is garbage.
const HOPS_MAX: usize = 32;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: limits count by it, events and logs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl<'a> FromRequest<'a> for ClientAddress {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        request.data::<Self>().copied().ok_or_else(|| Problem::internal().into())
    }
}

/// How the client reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    /// Plain http, with a claim of https from a peer that is not trusted to make it.
    Claimed,
}

#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub address: ClientAddress,
    pub scheme: Scheme,
}

/// Which peers may speak for others, and the header by which they tell the scheme.
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    scheme_header: HeaderName,
    scheme_https: String,
}

impl TrustedProxies {
    pub fn new(networks: Vec<IpNet>, (scheme_header, scheme_https): (HeaderName, String)) -> Self {
        Self { networks, scheme_header, scheme_https }
    }

    pub fn resolve(&self, request: &Request) -> Client {
        // Without an address, which only a test's request has, nothing is trusted.
        let peer = request.remote_addr().as_socket_addr().map(SocketAddr::ip);
        self.client(peer.unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)), request.headers())
    }

    /// The client behind this peer, as far as the peer may tell.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let peer = peer.to_canonical();
        let trusted = self.trusts(peer);
        let scheme = match (self.claims_https(headers), trusted) {
            (false, _) => Scheme::Http,
            (true, true) => Scheme::Https,
            (true, false) => Scheme::Claimed,
        };
        let address = if trusted { self.forwarded_for(headers).unwrap_or(peer) } else { peer };
        Client { address: ClientAddress(address), scheme }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The right-most address that is not a trusted proxy's; the left-most when all are. `None` when there is no
    /// header or an entry on the way is no address: then nothing of it is believed.
    fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut last = None;
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for (hop, entry) in entries.enumerate() {
            let address = parse(entry).filter(|_| hop < HOPS_MAX)?;
            if !self.trusts(address) {
                return Some(address);
            }
            last = Some(address);
        }
        last
    }

    /// Only the last element counts: the nearest proxy wrote it.
    fn claims_https(&self, headers: &HeaderMap) -> bool {
        let last = headers.get_all(&self.scheme_header).iter().next_back();
        let element = last.and_then(|line| line.to_str().ok()?.rsplit(',').next());
        element.is_some_and(|element| element.trim().eq_ignore_ascii_case(&self.scheme_https))
    }
}

/// An address, with or without a port.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = text.parse().ok().or_else(|| bare?.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6));
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        let networks = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"].map(|network| network.parse().unwrap()).to_vec();
        TrustedProxies::new(networks, (HeaderName::from_static("x-forwarded-proto"), "https".into()))
    }

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> (String, Scheme) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let client = proxies().client(peer.parse().unwrap(), &headers);
        (client.address.0.to_string(), client.scheme)
    }

    fn address(peer: &str, lines: &[&str]) -> String {
        client(peer, &lines.iter().map(|line| ("x-forwarded-for", *line)).collect::<Vec<_>>()).0
    }

    #[test]
    fn a_stranger_cannot_choose_its_address_or_scheme() {
        assert_eq!(address("198.51.100.7", &["203.0.113.1"]), "198.51.100.7");
        assert_eq!(client("198.51.100.7", &[("x-forwarded-proto", "https")]).1, Scheme::Claimed);
        assert_eq!(client("198.51.100.7", &[]).1, Scheme::Http);
    }

    #[test]
    fn trusted_hops_are_walked_from_the_right() {
        assert_eq!(address("127.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(address("127.0.0.1", &["6.6.6.6, 203.0.113.1, 10.1.1.1"]), "203.0.113.1");
        assert_eq!(address("127.0.0.1", &["6.6.6.6", "203.0.113.1", "10.1.1.1"]), "203.0.113.1");
        assert_eq!(address("127.0.0.1", &["10.0.0.9, 10.1.1.1"]), "10.0.0.9");
        assert_eq!(address("::ffff:127.0.0.1", &["::ffff:203.0.113.1"]), "203.0.113.1");
        assert_eq!(address("127.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
        assert_eq!(address("127.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(address("127.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn garbage_on_the_way_leaves_the_peer() {
        let long = "10.0.0.1,".repeat(HOPS_MAX + 1) + "10.0.0.1";
        for line in ["", "a", "203.0.113.1, a", "203.0.113.1,", "203.0.113.1, unknown, 10.0.0.1", "1.2.3.4.5", &long] {
            assert_eq!(address("127.0.0.1", &[line]), "127.0.0.1", "{line}");
        }
        assert_eq!(address("127.0.0.1", &["garbage, 203.0.113.1"]), "203.0.113.1");
    }

    #[test]
    fn the_nearest_proxy_tells_the_scheme() {
        let scheme = |lines: &[&str]| {
            client("127.0.0.1", &lines.iter().map(|line| ("x-forwarded-proto", *line)).collect::<Vec<_>>()).1
        };
        assert_eq!(scheme(&["https"]), Scheme::Https);
        assert_eq!(scheme(&["http, https"]), Scheme::Https);
        assert_eq!(scheme(&["https, http"]), Scheme::Http);
        assert_eq!(scheme(&["https", "http"]), Scheme::Http);
        assert_eq!(scheme(&["ftp"]), Scheme::Http);
        assert_eq!(scheme(&[]), Scheme::Http);
    }
}
