//! A new release takes the place of the one before while people use the service: migrations, restarts, and what old processes do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod common;
mod expand;
mod load;
mod rolling;
mod schema;
mod waits;
