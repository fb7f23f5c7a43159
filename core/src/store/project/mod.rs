//! Projections that decide or are read back, written in the statement of their events. One file a table or two.

pub mod accounts;
pub mod attempts;
pub mod counters;
pub mod idempotency;
pub mod imports;
pub mod outbox;
pub mod sessions;
pub mod settings;
pub mod tokens;
