//! What operators are given: the image, the compose file, the units, the recipes and the documents, held against the code.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod backup;
mod common;
mod compose;
mod design;
mod image;
mod logins;
mod parity;
mod surface;
mod units;
