//! Parsed types: a value that exists is valid.

pub mod client;
pub mod email;
pub mod ids;
pub mod locale;
pub mod name;

pub use client::ClientOrigin;
pub use email::Email;
pub use ids::{AccountId, CredentialId, DataKeyId, DeliveryId, DeviceId, EventId, JobId, SessionId, StreamId, TokenId};
pub use locale::Locale;
pub use name::PersonName;
