//! This package against real servers and real processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod cluster;
mod command;
mod common;
mod database;
mod growth;
mod ledger;
mod program;
mod sink;
mod standby;
mod supply;
