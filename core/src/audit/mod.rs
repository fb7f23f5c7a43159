//! What is proven about the log: pure functions, no I/O.

pub mod leaf;
