//! Behind PgBouncer in transaction mode, with fewer servers than clients; and what happens when no connection is to be had.

mod common;
mod exhausted;
mod service;
mod start;
mod statements;
mod suite;
