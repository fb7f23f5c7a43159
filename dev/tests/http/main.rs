//! The api as its clients meet it: real processes over HTTP, most of them without a worker.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod access_tokens;
mod admin;
mod alerts;
mod answers;
mod assignment;
mod asymmetric;
mod audit;
mod authorization;
mod callers;
mod common;
mod conformance;
mod cookies;
mod crashes;
mod django;
mod edge;
mod erasure;
mod floods;
mod guesses;
mod imports;
mod input;
mod insider;
mod key_rotation;
mod links;
mod live;
mod notices;
mod outages;
mod passwords;
mod past;
mod problems;
mod profile;
mod sessions;
mod speed;
mod timing;
mod wire;
