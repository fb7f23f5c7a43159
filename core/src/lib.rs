//! Rules, keys, storage and use cases of Doorbook. `docs/ARCHITECTURE.md` tells which folder holds what.

pub mod account;
pub mod attempt;
pub mod audit;
pub mod clock;
pub mod event;
pub mod limit;
pub mod notification;
pub mod operator;
pub mod seal;
pub mod session;
pub mod store;
pub mod token;
pub mod value;
