//! The rows of the bar's table of faults, one campaign each. They take minutes and are run by `cargo full`; `.ci/run` runs the short
//! campaign of all kinds instead.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod apis;
mod common;
mod dependencies;
mod processes;
mod soak;
