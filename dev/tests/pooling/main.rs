//! Behind PgBouncer in transaction mode, with fewer servers than clients; and what happens when no connection is to be had.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod common;
mod connections;
mod exhausted;
mod service;
mod slow;
mod start;
mod statements;
mod suite;
mod way;
