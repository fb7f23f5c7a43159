//! What happens around every request. `server.rs` calls these in order; none of them knows another.

pub mod client;
pub mod cors;
pub mod headers;
pub mod host;
pub mod https;
pub mod panic;
pub mod paths;
pub mod timeout;
pub mod trace;
