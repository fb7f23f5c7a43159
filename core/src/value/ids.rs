//! Identifiers. None of them is a secret: tokens are derived from a key (`token::opaque`).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::token::random;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id that sorts by `now`, the database's time.
            pub fn new(now: Timestamp) -> Self {
                Self(uuid7(now))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

id! {
    AccountId, SessionId, CredentialId, DataKeyId, DeviceId, TokenId, JobId, DeliveryId,
    /// UUIDv7 whose milliseconds are the event's time.
    EventId,
    StreamId,
}

impl EventId {
    /// The id of the `ordinal`th event of one statement: events of one millisecond sort as they happened.
    pub fn nth(now: Timestamp, ordinal: u16) -> Self {
        /// UUIDv7 has 12 bits between the milliseconds and the variant (RFC 9562, 5.7).
        const ORDINAL_MAX: u16 = 0x0fff;
        let [high, low] = ordinal.min(ORDINAL_MAX).to_be_bytes();
        let mut bytes = random::<10>();
        bytes[..2].copy_from_slice(&[high, low]);
        Self(uuid::Builder::from_unix_timestamp_millis(now.millis(), &bytes).into_uuid())
    }

    /// The event's time, to the millisecond: what replay sees, and so what projections store.
    pub fn at(self) -> Timestamp {
        let millis = u64::from_be_bytes([
            0,
            0,
            self.0.as_bytes()[0],
            self.0.as_bytes()[1],
            self.0.as_bytes()[2],
            self.0.as_bytes()[3],
            self.0.as_bytes()[4],
            self.0.as_bytes()[5],
        ]);
        Timestamp::from_micros(i64::try_from(millis).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000))
    }
}

/// RFC 9562 UUIDv7: 48 bits of milliseconds, the rest from the system's random generator.
fn uuid7(now: Timestamp) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(now.millis(), &random::<10>()).into_uuid()
}
