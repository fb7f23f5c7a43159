//! The documented routes, one file a resource. A route parses, calls one use case and says what came of it.

pub mod admin;
pub mod email;
pub mod health;
pub mod history;
pub mod index;
pub mod input;
pub mod keys;
pub mod login;
pub mod password;
pub mod profile;
pub mod register;
pub mod sessions;
pub mod token;

use poem_openapi::{ApiResponse, Tags};

/// Chapters of the OpenAPI document.
#[derive(Tags)]
pub enum Chapter {
    /// Accounts: registering, verifying, reading and editing.
    Accounts,
    /// Sessions: logging in, refreshing, listing, ending.
    Sessions,
    /// Passwords: rules, change and reset.
    Passwords,
    /// Administration: the trail and the accounts of others, for auditors and admins.
    Administration,
    /// Is the service there.
    Health,
}

/// Done; nothing to say.
#[derive(ApiResponse)]
pub enum Done {
    /// Done.
    #[oai(status = 204)]
    NoContent,
}

/// Taken in; what follows goes by mail.
#[derive(ApiResponse)]
pub enum Accepted {
    /// Taken in. The answer is the same whether or not a mail goes out.
    #[oai(status = 202)]
    Accepted,
}
