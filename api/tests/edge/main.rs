//! The HTTP layer from outside: real sockets, real bytes.

mod answers;
mod bodies;
mod connections;
mod support;
