//! Which new passwords are refused, and why. Codes and verdicts of the first four validators are Django's.

use std::sync::Arc;

use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

use super::common::is_common;
use super::similarity::{is_similar, words};
use super::{BreachedList, PasswordPlain};

/// Shortest context word, in code points. Shorter ones occur in strong passwords by chance.
const CONTEXT_WORD_MIN: usize = 4;

/// The rules for new passwords; stored ones are verified whatever the rules are now.
pub struct PasswordPolicy {
    /// In code points.
    pub min_length: usize,
    /// Asked in this order, and all of them.
    pub validators: Vec<Validator>,
}

pub enum Validator {
    /// Not like the owner's address or names.
    Similarity,
    /// At least [`PasswordPolicy::min_length`].
    Length,
    /// Not on the list of common passwords.
    Common,
    /// Not of digits alone.
    Numeric,
    /// Without the words of this service and of the owner.
    Context(ContextWords),
    /// Not on the operator's list.
    Breached(Arc<BreachedList>),
}

/// What is known about the owner; empty where nothing is.
#[derive(Clone, Copy, Default)]
pub struct PersonAttributes<'a> {
    pub email: &'a str,
    pub first_name: &'a str,
    pub last_name: &'a str,
}

/// One reason why a password is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub code: &'static str,
    /// In English, for people; clients translate the code.
    pub message: String,
}

/// The words that everybody would guess for this service, in lower case.
pub struct ContextWords(Vec<String>);

impl ContextWords {
    /// Takes the words of the product's name and of the host of its pages; of the host not the top-level domain.
    pub fn new(product: &str, host: &str) -> Self {
        let labels = host.rsplit_once('.').map_or(host, |(labels, _)| labels);
        Self(words(&lowercase(product)).chain(words(&lowercase(labels))).map(str::to_owned).collect())
    }
}

impl Validator {
    /// The code of its refusals.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Similarity => "password_too_similar",
            Self::Length => "password_too_short",
            Self::Common => "password_too_common",
            Self::Numeric => "password_entirely_numeric",
            Self::Context(_) => "password_context",
            Self::Breached(_) => "password_breached",
        }
    }
}

impl PasswordPolicy {
    /// Judges the normalised password, so that its two encodings get one verdict. It is never shorter than the least, whether or not that is
    /// among the validators.
    pub fn check(&self, password: &PasswordPlain, person: &PersonAttributes<'_>) -> Result<(), Vec<Violation>> {
        let candidate = Candidate::new(password, person);
        let has_length = self.validators.iter().any(|validator| matches!(validator, Validator::Length));
        let validators = self.validators.iter().chain((!has_length).then_some(&Validator::Length));
        let violations: Vec<_> =
            validators.filter_map(|validator| candidate.violation(validator, self.min_length)).collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

/// A password and its owner, prepared for comparing.
struct Candidate<'a> {
    password: &'a str,
    lowercase: zeroize::Zeroizing<String>,
    email: String,
    first_name: String,
    last_name: String,
}

impl<'a> Candidate<'a> {
    fn new(password: &'a PasswordPlain, person: &PersonAttributes<'_>) -> Self {
        let password = password.normalized();
        Self {
            password,
            lowercase: password.to_lowercase().into(),
            email: lowercase(person.email),
            first_name: lowercase(person.first_name),
            last_name: lowercase(person.last_name),
        }
    }

    fn violation(&self, validator: &Validator, min_length: usize) -> Option<Violation> {
        match validator {
            Validator::Similarity => self.similar_attribute().map(|attribute| Violation {
                code: validator.code(),
                message: format!("The password is too much like the {attribute}."),
            }),
            Validator::Length => (self.password.chars().count() < min_length).then(|| Violation {
                code: validator.code(),
                message: format!("The password needs at least {min_length} characters."),
            }),
            Validator::Common => is_common(&self.lowercase).then(|| Violation {
                code: validator.code(),
                message: "The password is among those that most people choose.".to_owned(),
            }),
            // Wider than Django by fractions and numerals such as Ⅷ, which Python counts as numeric but not as digits.
            Validator::Numeric => self.password.chars().all(char::is_numeric).then(|| Violation {
                code: validator.code(),
                message: "The password consists of digits only.".to_owned(),
            }),
            Validator::Context(context) => self.context_word(context).map(|word| Violation {
                code: validator.code(),
                message: format!("The password contains “{word}”, which is easy to guess here."),
            }),
            Validator::Breached(list) => list.contains(self.password).then(|| Violation {
                code: validator.code(),
                message: "The password is known from a data breach.".to_owned(),
            }),
        }
    }

    fn similar_attribute(&self) -> Option<&'static str> {
        let attributes =
            [("e-mail address", &self.email), ("first name", &self.first_name), ("last name", &self.last_name)];
        attributes.into_iter().find(|(_, value)| is_similar(&self.lowercase, value)).map(|(name, _)| name)
    }

    fn context_word<'b>(&'b self, context: &'b ContextWords) -> Option<&'b str> {
        // The domain belongs to the mail service, not to the owner.
        let local_part = self.email.rsplit_once('@').map_or(self.email.as_str(), |(local, _)| local);
        let own = [local_part, &self.first_name, &self.last_name].into_iter().flat_map(words);
        let context = context.0.iter().map(String::as_str);
        context
            .chain(own)
            .filter(|word| word.chars().count() >= CONTEXT_WORD_MIN)
            .find(|word| self.lowercase.contains(word))
    }
}

fn lowercase(attribute: &str) -> String {
    attribute.nfc().collect::<String>().to_lowercase()
}
