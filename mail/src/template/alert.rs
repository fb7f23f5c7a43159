//! What operators are told.

use serde::Serialize;
use time::OffsetDateTime;

/// What looks like an attack. Numbers and ids: no address, no name.
#[derive(Clone, Serialize)]
pub struct Alert {
    /// Among the facts of every mail that tells of something done.
    #[serde(skip)]
    pub at: OffsetDateTime,
    /// One sentence without a full stop.
    pub about: String,
    pub rule: String,
    pub severity: String,
    /// Whom or what it is about, such as an account's id; none when it is about all.
    pub subjects: Vec<String>,
    pub count: u64,
    pub threshold: u64,
    /// 0 where one event is enough.
    pub seconds: u64,
    /// The alert's id.
    pub id: String,
}
