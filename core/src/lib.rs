//! Rules, keys, storage and use cases of Doorbook. `docs/ARCHITECTURE.md` tells which folder holds what.

pub mod account;
pub mod alert;
pub mod attempt;
pub mod audit;
pub mod clock;
pub mod config;
pub mod copies;
pub mod event;
pub mod failpoint;
pub mod job;
pub mod key_backup;
pub mod limit;
pub mod notification;
pub mod operator;
pub mod password;
pub mod seal;
pub mod service;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod terms;
pub mod token;
pub mod value;
