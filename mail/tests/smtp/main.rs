//! Real conversations over TCP with a server that can fail at each step.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

#[path = "../support/mod.rs"]
mod support;

mod connections;
mod faults;
mod protection;
