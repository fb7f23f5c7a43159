//! The console, as a browser and as an attacker see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod browser;
mod forms;
mod live;
mod session;
