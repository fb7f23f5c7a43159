//! What auditors and admins do. Roles are asked for on every call; the answers hold no password, hash or token.

pub mod accounts;
pub mod orders;
pub mod step_up;

use doorbook_core::account::Role;
use poem_openapi::Enum;
use serde::Deserialize;

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
