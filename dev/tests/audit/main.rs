//! Proofs over the log: what is signed, where it is kept, and that no change goes unseen.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod bundles;
mod common;
mod figures;
mod retention;
mod signing;
mod sink;
mod tamper;
