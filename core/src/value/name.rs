//! Names of people: any script, no control characters, nothing that could break out of a mail header.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// Longest first or last name, in code points. Source: Django's `auth_user.first_name` and `last_name`.
pub const LENGTH_MAX: usize = 150;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PersonName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("must be at most {LENGTH_MAX} characters long")]
    TooLong,
    #[error("must not hold control characters")]
    Control,
}

impl PersonName {
    /// NFC, without surrounding white space; empty is a name not given.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > LENGTH_MAX * 4 {
            return Err(NameError::TooLong);
        }
        let name: String = text.trim().nfc().collect();
        if name.chars().count() > LENGTH_MAX {
            return Err(NameError::TooLong);
        }
        if name.chars().any(|c| c.is_control() || is_bidi_control(c) || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(NameError::Control);
        }
        Ok(Self(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Overrides and isolates that turn the reading order of what follows. Source: Unicode UAX 9.
const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
