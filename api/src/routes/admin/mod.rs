//! What auditors and admins do. Roles are asked for on every call, and what is read is recorded; the answers hold no password, hash
//! or token.

pub mod accounts;
pub mod alerts;
pub mod audit;
pub mod deliveries;
pub mod export;
pub mod orders;
pub mod overview;
pub mod past;
pub mod proofs;
pub mod step_up;
pub mod stream;

use doorbook_core::account::Role;
use poem_openapi::{Enum, Object};
use serde::Deserialize;

/// Why something is done, for those who read the log.
#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// Why this is done, for those who read the log. Name a case, not a person: it stays there, also when the account is erased.
    #[oai(validator(min_length = 1, max_length = 500))]
    reason: String,
}

/// A role by its name.
// Read as a string first: what is none is then of the wrong type, and not malformed.
#[derive(Clone, Copy, Enum, Deserialize)]
#[oai(rename_all = "lowercase")]
#[serde(try_from = "String")]
pub enum RoleName {
    Auditor,
    Admin,
}

impl TryFrom<String> for RoleName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match Role::parse(&name) {
            Some(Role::Auditor) => Ok(Self::Auditor),
            Some(Role::Admin) => Ok(Self::Admin),
            None => Err("must be one of: auditor, admin"),
        }
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Auditor => Self::Auditor,
            RoleName::Admin => Self::Admin,
        }
    }
}
