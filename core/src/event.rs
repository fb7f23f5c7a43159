//! What can be written into the log: the events of all streams under one roof, with the names and shapes that are stored.
//! A stored name and shape is for ever (golden files); new meaning needs a new name or schema version.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::account::AccountEvent;
use crate::alert::SecurityEvent;
use crate::attempt::AttemptEvent;
use crate::notification::NotificationEvent;
use crate::operator::OperatorEvent;
use crate::session::SessionEvent;

/// How long an event is kept: `Keep` for ever, `Expire` until retention drops its month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionClass {
    Keep,
    Expire,
}

impl RetentionClass {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Expire => "expire",
        }
    }
}

/// Personal data of one event. It is sealed beside the payload; after erasure every field is gone and the event remains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Personal {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    Account(crate::value::AccountId),
    Stranger,
    Operator,
    System,
}

impl Actor {
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Stranger => "stranger",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }

    pub const fn id(self) -> Option<uuid::Uuid> {
        match self {
            Self::Account(id) => Some(id.0),
            Self::Stranger | Self::Operator | Self::System => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Account(AccountEvent),
    Session(SessionEvent),
    Attempt(AttemptEvent),
    Notification(NotificationEvent),
    Operator(OperatorEvent),
    Security(SecurityEvent),
}

#[derive(Debug, thiserror::Error)]
#[error("event {name} of a {kind} stream cannot be read: {cause}")]
pub struct Unreadable {
    pub kind: String,
    pub name: String,
    pub cause: String,
}

impl Event {
    pub const fn retention_class(&self) -> RetentionClass {
        match self {
            Self::Account(_)
            | Self::Session(_)
            | Self::Security(_)
            | Self::Operator(
                OperatorEvent::CheckpointSigned { .. }
                | OperatorEvent::EventsRetired { .. }
                | OperatorEvent::KeyRotated { .. },
            ) => RetentionClass::Keep,
            Self::Attempt(_) | Self::Notification(_) | Self::Operator(_) => RetentionClass::Expire,
        }
    }

    /// How many happenings it stands for that have no event of their own.
    pub const fn rolled_up(&self) -> u64 {
        match self {
            Self::Attempt(AttemptEvent::LoginAttemptsSuppressed { attempts, .. }) => *attempts,
            _ => 0,
        }
    }

    /// The stored name and payload.
    pub fn stored(&self) -> (String, Value) {
        let tagged = match self {
            Self::Account(event) => serde_json::to_value(event),
            Self::Session(event) => serde_json::to_value(event),
            Self::Attempt(event) => serde_json::to_value(event),
            Self::Notification(event) => serde_json::to_value(event),
            Self::Operator(event) => serde_json::to_value(event),
            Self::Security(event) => serde_json::to_value(event),
        };
        let Ok(Value::Object(mut tagged)) = tagged else {
            unreachable!("events serialise to objects: see the golden files")
        };
        let name = tagged.remove("type").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        (name, tagged.remove("payload").unwrap_or_else(|| Value::Object(Map::new())))
    }

    /// Personal data that belongs to the event itself; where the request came from is added by who writes it.
    pub fn personal(&self) -> Personal {
        match self {
            Self::Account(event) => event.personal(),
            Self::Session(_) | Self::Attempt(_) | Self::Notification(_) | Self::Operator(_) | Self::Security(_) => {
                Personal::default()
            }
        }
    }

    /// Reads a stored event of a stream of this kind. `personal` is `None` once its key has been deleted.
    pub fn read(kind: &str, name: &str, payload: &Value, personal: Option<&Personal>) -> Result<Self, Unreadable> {
        let unreadable = |cause: String| Unreadable { kind: kind.to_owned(), name: name.to_owned(), cause };
        let unit = payload.as_object().is_some_and(Map::is_empty);
        let mut tagged = Map::from_iter([("type".to_owned(), Value::from(name))]);
        if !unit {
            tagged.insert("payload".to_owned(), payload.clone());
        }
        let tagged = Value::Object(tagged);
        let parsed = match kind {
            "account" => {
                serde_json::from_value(tagged).map(|event: AccountEvent| Self::Account(event.with_personal(personal)))
            }
            "session" => serde_json::from_value(tagged).map(Self::Session),
            "attempts" => serde_json::from_value(tagged).map(Self::Attempt),
            "notification" => serde_json::from_value(tagged).map(Self::Notification),
            "operator" => serde_json::from_value(tagged).map(Self::Operator),
            "security" => serde_json::from_value(tagged).map(Self::Security),
            _ => return Err(unreadable("no such kind of stream".to_owned())),
        };
        parsed.map_err(|error| unreadable(error.to_string()))
    }
}
