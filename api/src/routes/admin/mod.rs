//! What auditors and admins do. Their roles are checked on every call, and what they read is itself recorded.

pub mod audit;
pub mod export;
