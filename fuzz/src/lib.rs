//! The bodies of the targets; ordinary tests run the same.

#[path = "../../api/tests/fuzz/bodies.rs"]
pub mod bodies;
