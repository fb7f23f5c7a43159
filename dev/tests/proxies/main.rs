//! The api behind nginx and HAProxy, with the configuration files that operators are given.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod common;
mod forwarding;
mod smuggling;
