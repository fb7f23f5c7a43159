//! What auditors and admins do. Roles are asked for on every call, and what is read is recorded; the answers hold no password, hash
//! or token.

pub mod accounts;
pub mod audit;
pub mod export;
pub mod orders;
pub mod step_up;

use doorbook_core::account::Role;
use poem_openapi::{Enum, Object};
use serde::Deserialize;

/// Why something is done, for those who read the log.
#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// Why this is done, for those who read the log.
    #[oai(validator(min_length = 1, max_length = 500))]
    reason: String,
}

/// A role by its name.
#[derive(Clone, Copy, Enum, Deserialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    Auditor,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Auditor => Self::Auditor,
            RoleName::Admin => Self::Admin,
        }
    }
}
