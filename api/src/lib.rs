//! Doorbook's HTTP layer: connections, limits, errors, headers and the routes behind them.

pub mod auth;
pub mod bearer;
pub mod body;
pub mod command;
pub mod config;
mod console;
pub mod cookie;
pub mod docs;
pub mod edge;
pub mod metrics;
pub mod middleware;
pub mod openapi;
pub mod ops;
pub mod problem;
mod refusal;
pub mod routes;
pub mod security_txt;
pub mod server;
mod stream;
