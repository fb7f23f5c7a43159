//! What operators see of api and worker: lines, numbers, traces, reports of errors, and the end of a process. Real processes, and
//! real receivers on loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod common;
mod ending;
mod files;
mod lines;
mod metrics;
mod pushed;
mod receiver;
mod reports;
mod secrets;
mod traces;
mod trail;
