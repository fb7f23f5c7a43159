//! Where a request came from: the address the edge has established and what the client says of itself.

use std::net::{IpAddr, Ipv6Addr};

/// Longest user agent kept, in characters; the rest is cut. A browser's is under 300.
pub const USER_AGENT_LENGTH_MAX: usize = 400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOrigin {
    pub address: IpAddr,
    pub user_agent: String,
    /// W3C trace id of the request; it follows the work through the queue into the mail.
    pub trace_id: uuid::Uuid,
    /// The request's own span: what it causes goes below it.
    pub span_id: Option<u64>,
}

impl ClientOrigin {
    pub fn new(address: IpAddr, user_agent: &str, trace_id: uuid::Uuid) -> Self {
        let user_agent = user_agent.chars().filter(|c| !c.is_control()).take(USER_AGENT_LENGTH_MAX).collect();
        Self { address: address.to_canonical(), user_agent, trace_id, span_id: None }
    }

    #[must_use]
    pub fn in_span(self, span_id: u64) -> Self {
        Self { span_id: Some(span_id), ..self }
    }

    /// What limits count by: an IPv4 address, or the /64 that one IPv6 subscriber has at least.
    pub fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => self.address,
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }
    }
}
