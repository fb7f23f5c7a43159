//! An account: who may sign in, with what, and what it may do. Pure rules; `decide` may refuse, `evolve` may not.

mod command;
mod decide;
mod event;
#[cfg(test)]
mod spec;
mod state;

pub use command::{Command, Imported};
pub use decide::{Rejection, decide};
pub use event::{AccountEvent, ErasureCause};
pub use state::{Account, Credential, Profile, Role, Status, evolve};
