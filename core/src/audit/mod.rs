//! What is proven about the log: pure functions, no I/O.

pub mod bundle;
pub mod checkpoint;
pub mod leaf;
pub mod note;
pub mod receipt;
pub mod retired;
pub mod tree;
pub mod walk;
