//! Settings and `doorbook check` as operators meet them: real processes on real servers, in production's rules.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod common;
mod deploy;
mod guide;
mod outside;
mod start;
