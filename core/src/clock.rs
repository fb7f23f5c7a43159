//! The one clock: the database's. A process keeps its offset to it, refreshed by the answers of its statements.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef, Postgres};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Microseconds between the Unix epoch and Postgres' own (2000-01-01). Source: PostgreSQL, `timestamptz` binary format.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// An instant in microseconds since the Unix epoch, UTC: the resolution of a Postgres `timestamptz`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down: the unit of JWT times.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Milliseconds since the Unix epoch, never negative: the unit of UUIDv7.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.div_euclid(1_000)).unwrap_or(0)
    }

    /// The same instant without what is finer than a millisecond: what an event id can carry.
    #[must_use]
    pub const fn to_millisecond(self) -> Self {
        Self(self.0.div_euclid(1_000) * 1_000)
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long from `earlier` to this instant; zero when it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// A time as RFC 3339 writes it, with any offset, unless UTC puts it into a year that RFC 3339 cannot write.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
        if !(0..=9_999).contains(&at.year()) {
            return None;
        }
        i64::try_from(at.unix_timestamp_nanos() / 1_000).ok().map(Self)
    }

    /// RFC 3339 in UTC with microseconds as needed.
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| self.0.to_string())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl sqlx::Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl sqlx::Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as sqlx::Encode<Postgres>>::encode(self.0 - POSTGRES_EPOCH_MICROS, buffer)
    }
}

impl<'r> sqlx::Decode<'r, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(Self(<i64 as sqlx::Decode<Postgres>>::decode(value)? + POSTGRES_EPOCH_MICROS)),
            PgValueFormat::Text => Err("timestamps are read in the binary format only".into()),
        }
    }
}

/// The database's time as this process knows it.
#[derive(Default)]
pub struct Clock {
    offset_micros: AtomicI64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock, to correct it")]
    fn machine_micros() -> i64 {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(Self::machine_micros() + self.offset_micros.load(Ordering::Relaxed))
    }

    /// Takes over the database's time, as a statement has just returned it.
    pub fn observe(&self, database: Timestamp) -> Timestamp {
        self.offset_micros.store(database.0 - Self::machine_micros(), Ordering::Relaxed);
        database
    }
}
