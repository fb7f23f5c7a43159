//! One account as another service has it: from text to values, with every rule that the text breaks.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::account::{Profile, Role};
use crate::clock::Timestamp;
use crate::password::{Unreadable, scheme};
use crate::value::{Email, PersonName};

/// What is read of an account. The names are Django's, but for the last, which Django does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Id,
    Email,
    Password,
    FirstName,
    LastName,
    IsActive,
    IsStaff,
    IsSuperuser,
    DateJoined,
    LastLogin,
    EmailVerified,
}

impl Column {
    pub const ALL: [Self; 11] = [
        Self::Id,
        Self::Email,
        Self::Password,
        Self::FirstName,
        Self::LastName,
        Self::IsActive,
        Self::IsStaff,
        Self::IsSuperuser,
        Self::DateJoined,
        Self::LastLogin,
        Self::EmailVerified,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Email => "email",
            Self::Password => "password",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::IsActive => "is_active",
            Self::IsStaff => "is_staff",
            Self::IsSuperuser => "is_superuser",
            Self::DateJoined => "date_joined",
            Self::LastLogin => "last_login",
            Self::EmailVerified => "email_verified",
        }
    }
}

/// A row as text, in the order of `Column::ALL`; `None` where the source has no such column or no value.
#[derive(Clone, Default)]
pub struct RawRow {
    /// Line of a file.
    pub line: Option<u64>,
    pub values: [Option<String>; Column::ALL.len()],
    /// Why there are no values at all.
    pub broken: Option<&'static str>,
}

impl RawRow {
    fn text(&self, column: Column) -> &str {
        self.values[column as usize].as_deref().unwrap_or_default()
    }

    pub fn id(&self) -> Option<&str> {
        self.values[Column::Id as usize].as_deref()
    }
}

/// A rule that a row breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub field: &'static str,
    pub rule: &'static str,
    pub message: String,
}

impl Fault {
    pub fn new(field: &'static str, rule: &'static str, message: impl Into<String>) -> Self {
        Self { field, rule, message: message.into() }
    }
}

/// Whose addresses count as verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    All,
    None,
    /// What the column `email_verified` says.
    Column,
}

/// What an operator decides about all rows.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    pub verified: Verified,
    pub staff: Option<Role>,
    pub superuser: Option<Role>,
    /// An account whose hash cannot be verified here is imported without one.
    pub drop_unreadable_passwords: bool,
    /// The source cannot say who is inactive, and the operator knows.
    pub all_active: bool,
}

/// What is worth telling of a row that is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// Django's mark of an account that has none.
    NoPassword,
    /// Its hash cannot be verified here and was left behind.
    PasswordDropped,
    Disabled,
    Unverified,
    /// Staff there, without a role here.
    StaffWithoutRole,
    SuperuserWithoutRole,
    RoleGranted,
}

/// An account that can be imported, as far as its row alone can tell.
#[derive(Clone, Debug)]
pub struct Row {
    pub line: Option<u64>,
    pub id: String,
    pub email: Email,
    /// A hash that a login can verify.
    pub password: Option<String>,
    /// What the hash is called.
    pub scheme: Option<&'static str>,
    first_name: PersonName,
    last_name: PersonName,
    pub active: bool,
    pub email_verified: bool,
    pub roles: Vec<Role>,
    pub joined_at: Option<Timestamp>,
    pub last_login_at: Option<Timestamp>,
    pub notes: Vec<Note>,
}

impl Row {
    pub fn profile(&self) -> Profile {
        Profile {
            email: self.email.as_str().to_owned(),
            first_name: self.first_name.as_str().to_owned(),
            last_name: self.last_name.as_str().to_owned(),
        }
    }

    /// Every rule that the row breaks, or the row. `now` is the database's time: nobody joins after it.
    pub fn parse(raw: &RawRow, choices: Choices, now: Timestamp) -> Result<Self, Vec<Fault>> {
        if let Some(broken) = raw.broken {
            return Err(vec![Fault::new("row", "malformed", broken)]);
        }
        let mut faults = Vec::new();
        let id = take(&mut faults, id(raw.text(Column::Id)));
        let email = take(&mut faults, email(raw.text(Column::Email)));
        let password = take(&mut faults, password(raw.text(Column::Password), choices));
        let first_name = take(&mut faults, name(raw, Column::FirstName));
        let last_name = take(&mut faults, name(raw, Column::LastName));
        let active =
            if choices.all_active { Some(true) } else { take(&mut faults, truth(raw, Column::IsActive, None)) };
        let staff = take(&mut faults, truth(raw, Column::IsStaff, Some(false)));
        let superuser = take(&mut faults, truth(raw, Column::IsSuperuser, Some(false)));
        let joined_at = take(&mut faults, instant(raw, Column::DateJoined, now));
        let last_login_at = take(&mut faults, instant(raw, Column::LastLogin, now));
        let email_verified = match choices.verified {
            Verified::All => Some(true),
            Verified::None => Some(false),
            Verified::Column => take(&mut faults, truth(raw, Column::EmailVerified, None)),
        };
        let parts = || {
            let mut row = Self {
                line: raw.line,
                id: id?,
                email: email?,
                password: None,
                scheme: None,
                first_name: first_name?,
                last_name: last_name?,
                active: active?,
                email_verified: email_verified?,
                roles: Vec::new(),
                joined_at: joined_at?,
                last_login_at: last_login_at?,
                notes: Vec::new(),
            };
            match password? {
                Hash::Verifiable(scheme) => {
                    (row.password, row.scheme) = (Some(raw.text(Column::Password).to_owned()), Some(scheme));
                }
                Hash::Absent(note) => row.notes.push(note),
            }
            row.rank(staff?, superuser?, choices);
            Some(row)
        };
        match parts() {
            Some(row) if faults.is_empty() => Ok(row),
            _ => Err(faults),
        }
    }

    fn rank(&mut self, staff: bool, superuser: bool, choices: Choices) {
        let ranks = [
            (staff, choices.staff, Note::StaffWithoutRole),
            (superuser, choices.superuser, Note::SuperuserWithoutRole),
        ];
        for (has, role, without) in ranks {
            match role {
                Some(role) if has => self.roles.push(role),
                None if has => self.notes.push(without),
                _ => {}
            }
        }
        let facts = [
            (!self.active, Note::Disabled),
            (!self.email_verified, Note::Unverified),
            (!self.roles.is_empty(), Note::RoleGranted),
        ];
        self.notes.extend(facts.into_iter().filter(|(so, _)| *so).map(|(_, note)| note));
    }
}

enum Hash {
    Verifiable(&'static str),
    Absent(Note),
}

fn take<T>(faults: &mut Vec<Fault>, parsed: Result<T, Fault>) -> Option<T> {
    parsed.map_err(|fault| faults.push(fault)).ok()
}

/// It stands in the log unsealed, for ever: a number or a UUID, never an address.
fn id(text: &str) -> Result<String, Fault> {
    /// In characters. Source: the check of `imported_accounts.source_id`.
    const LENGTH_MAX: usize = 64;
    let fits = (1..=LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fits {
        Ok(text.to_owned())
    } else {
        let message = format!("must hold 1 to {LENGTH_MAX} letters, digits, - and _");
        Err(Fault::new("id", "invalid", message))
    }
}

fn email(text: &str) -> Result<Email, Fault> {
    if text.is_empty() {
        return Err(Fault::new("email", "empty", "is empty: an account logs in with its address"));
    }
    Email::parse(text).map_err(|error| Fault::new("email", "invalid", error.to_string()))
}

fn password(text: &str, choices: Choices) -> Result<Hash, Fault> {
    let rule = match scheme(text) {
        Ok(scheme) => return Ok(Hash::Verifiable(scheme)),
        Err(_) if text.is_empty() => return Ok(Hash::Absent(Note::NoPassword)),
        Err(Unreadable::Unusable) => return Ok(Hash::Absent(Note::NoPassword)),
        Err(_) if choices.drop_unreadable_passwords => return Ok(Hash::Absent(Note::PasswordDropped)),
        Err(Unreadable::UnknownFormat) => ("unknown_format", "is no hash of a known format"),
        Err(Unreadable::Malformed) => ("malformed", "is a malformed hash"),
        Err(Unreadable::TooCostly) => ("too_costly", "is a hash that costs more than is verified here"),
    };
    Err(Fault::new("password", rule.0, rule.1))
}

fn name(raw: &RawRow, column: Column) -> Result<PersonName, Fault> {
    PersonName::parse(raw.text(column)).map_err(|error| Fault::new(column.name(), "invalid", error.to_string()))
}

/// As Postgres, Python and JSON write it.
fn truth(raw: &RawRow, column: Column, default: Option<bool>) -> Result<bool, Fault> {
    match (raw.text(column), default) {
        ("t" | "T" | "true" | "True" | "TRUE" | "1", _) => Ok(true),
        ("f" | "F" | "false" | "False" | "FALSE" | "0", _) => Ok(false),
        ("", Some(default)) => Ok(default),
        _ => Err(Fault::new(column.name(), "invalid", "must be true or false")),
    }
}

/// RFC 3339, or with a space as Postgres and Python write it; without an offset it is UTC. Empty: not known.
fn instant(raw: &RawRow, column: Column, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let text = raw.text(column);
    if text.is_empty() {
        return Ok(None);
    }
    let at = parse_instant(text)
        .ok_or_else(|| Fault::new(column.name(), "invalid", "must be a time such as 2024-05-17 08:30:00+00:00"))?;
    if at < Timestamp::from_seconds(0) || at > now {
        return Err(Fault::new(column.name(), "out_of_range", "must lie between 1970 and now"));
    }
    Ok(Some(at))
}

fn parse_instant(text: &str) -> Option<Timestamp> {
    let mut text = text.trim().replacen(' ', "T", 1);
    // Postgres leaves the minutes of an offset out.
    if let Some(sign) = text.len().checked_sub(3)
        && text.is_char_boundary(sign)
        && text[sign..].starts_with(['+', '-'])
        && text.contains(':')
    {
        text.push_str(":00");
    }
    let plain =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second][optional [.[subsecond]]]");
    let at = OffsetDateTime::parse(&text, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(&text, plain).map(PrimitiveDateTime::assume_utc))
        .ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000).ok().map(Timestamp::from_micros)
}

/// What only all rows together tell: ids that come twice, and addresses that are one after normalising. A first pass over the source
/// fills it; whoever is in such a pair is refused, since nothing tells whose the address is.
#[derive(Default)]
pub struct Census {
    ids: HashSet<String>,
    repeated: HashSet<String>,
    /// First id of each address, under half a hash of it: the addresses themselves would take several times the memory.
    addresses: HashMap<[u8; 16], String>,
    collisions: BTreeMap<[u8; 16], Vec<String>>,
}

impl Census {
    pub fn observe(&mut self, raw: &RawRow) {
        // One that is no id is refused for that, and named nowhere: it may be personal data.
        let id = id(raw.text(Column::Id)).unwrap_or_else(|_| "?".to_owned());
        if !self.ids.insert(id.clone()) {
            self.repeated.insert(id.clone());
        }
        let Ok(email) = Email::parse(raw.text(Column::Email)) else { return };
        let key = half_hash(&email);
        match self.addresses.get(&key) {
            Some(first) => {
                self.collisions.entry(key).or_insert_with(|| vec![first.clone()]).push(id);
            }
            None => {
                self.addresses.insert(key, id);
            }
        }
    }

    /// What the other rows hold against this one.
    pub fn faults(&self, row: &Row) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.repeated.contains(&row.id) {
            faults.push(Fault::new("id", "repeated", "stands in several rows"));
        }
        if let Some(ids) = self.collisions.get(&half_hash(&row.email)) {
            let others: Vec<&str> = ids.iter().filter(|id| **id != row.id).map(String::as_str).collect();
            if !others.is_empty() {
                let message = format!("is, after normalising, that of id {} too", others.join(", "));
                faults.push(Fault::new("email", "collision", message));
            }
        }
        faults
    }
}

fn half_hash(email: &Email) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest(&SHA256, email.normal_form().as_bytes()).as_ref()[..16]);
    half
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
