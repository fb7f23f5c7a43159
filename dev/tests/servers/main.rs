//! This package against real servers and real processes.

mod cluster;
mod command;
mod common;
mod database;
mod program;
mod sink;
mod supply;
