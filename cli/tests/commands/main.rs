//! The binary against a real database, as an operator runs it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod account;
mod alerts;
mod common;
mod keys;
mod log;
mod mail;
mod projections;
mod schema;
