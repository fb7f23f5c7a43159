//! The worker as its users meet it: real processes, real SMTP, faults from outside.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod alerts;
mod backlog;
mod common;
mod crash;
mod delivery;
mod erasure;
mod expiry;
mod injection;
mod issued;
mod needed;
mod pacing;
mod process;
mod queue;
mod redis;
mod schedule;
mod seal;
mod smtp;
mod unprotected;
mod wording;
