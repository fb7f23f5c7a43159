//! The service against real Postgres: flows, races and schedules below HTTP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod accounts;
mod actor;
mod admin;
mod alerts;
mod audit;
mod blocks;
mod commands;
mod common;
mod email_change;
mod erasure;
mod expiry;
mod flows;
mod idempotency;
mod interleavings;
mod issued;
mod key_changes;
mod limits;
mod log;
mod neighbours;
mod not_me;
mod notices;
mod outbox;
mod pacing;
mod races;
mod rebuild;
mod refresh;
mod restore;
mod retention;
mod rights;
mod rollup;
mod rotation;
mod schedules;
mod sessions;
mod tokens;
mod whole;
