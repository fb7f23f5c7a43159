//! Reads variables by the rules of the registry and collects every fault, so that all are reported together.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Process;
use super::env::{Environment, read_text};
use super::fault::{Fault, Faults};
use super::registry::{self, Rule, Unset, Variable};
use super::secret::Secret;

/// Most entries of a comma list: far above any sensible use.
const LIST_ITEMS_MAX: usize = 256;

/// Proof that a fault is on record. Each section reads all of its variables before it gives up on one with `?`:
/// otherwise the faults after it would go unreported.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused(());

pub(super) struct Reader<'a> {
    environment: &'a Environment,
    faults: Vec<Fault>,
    pub(super) process: Process,
    /// False is production, and so is a `DEBUG` that cannot be read.
    pub(super) debug: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a Environment, process: Process) -> Self {
        let mut reader = Self { environment, faults: Vec::new(), process, debug: false };
        reader.debug = reader.flag(&registry::DEBUG).unwrap_or(false);
        reader
    }

    /// The value if nothing was refused on the way to it, otherwise every fault.
    pub(super) fn finish<T>(self, outcome: Result<T, Refused>) -> Result<T, Faults> {
        match outcome {
            Ok(value) if self.faults.is_empty() => Ok(value),
            _ => Err(Faults::new(self.faults)),
        }
    }

    /// Records that the variable breaks its rule.
    pub(super) fn refuse(&mut self, variable: &Variable) -> Refused {
        self.refuse_because(variable, format!("must be {}", variable.rule))
    }

    /// Records that the variable breaks a rule that deserves its own words. They must not quote the value.
    pub(super) fn refuse_because(&mut self, variable: &Variable, rule: impl Into<Cow<'static, str>>) -> Refused {
        self.record(variable.name, rule)
    }

    pub(super) fn missing(&mut self, variable: &Variable) -> Refused {
        self.refuse_because(variable, format!("must be set; {}", variable.rule))
    }

    fn record(&mut self, name: impl Into<Cow<'static, str>>, rule: impl Into<Cow<'static, str>>) -> Refused {
        self.faults.push(Fault { variable: name.into(), rule: rule.into() });
        Refused(())
    }

    /// True if the variable is set and empty, which for most variables is the same as unset.
    pub(super) fn is_set_to_nothing(&self, variable: &Variable) -> bool {
        let value = self.environment.get(variable.name).and_then(std::ffi::OsStr::to_str);
        value.is_some_and(|value| value.trim().is_empty())
    }

    /// What the operator gave; an empty value counts as not given.
    fn given(&mut self, variable: &Variable) -> Result<Option<Zeroizing<String>>, Refused> {
        let value = match self.environment.get(variable.name).map(std::ffi::OsStr::to_str) {
            Some(Some(value)) => Some(Zeroizing::new(trimmed(variable, value).to_owned())),
            Some(None) => return Err(self.refuse_because(variable, "must be UTF-8 text")),
            None => None,
        };
        let mut value = value.filter(|value| !value.is_empty());
        if variable.secret {
            value = self.given_or_from_file(variable, value)?;
        }
        match value {
            Some(value) if is_placeholder(&value) => {
                Err(self.refuse_because(variable, "still holds the <placeholder> of the guide"))
            }
            value => Ok(value),
        }
    }

    fn given_or_from_file(
        &mut self,
        variable: &Variable,
        value: Option<Zeroizing<String>>,
    ) -> Result<Option<Zeroizing<String>>, Refused> {
        let file_name = format!("{}_FILE", variable.name);
        let Some(path) = self.environment.get(&file_name).filter(|path| !path.is_empty()) else {
            return Ok(value);
        };
        if value.is_some() {
            return Err(self.record(file_name, format!("must not be set beside {}", variable.name)));
        }
        let Ok(text) = read_text(Path::new(path)) else {
            return Err(self.record(file_name, "must be the path of a readable text file of at most 1 MiB"));
        };
        let text = Zeroizing::new(trimmed(variable, &text).to_owned());
        if text.is_empty() {
            return Err(self.record(file_name, "must be the path of a file that is not empty"));
        }
        Ok(Some(text))
    }

    /// The value given, else the default of the registry if that is a value.
    pub(super) fn text(&mut self, variable: &Variable) -> Result<Option<String>, Refused> {
        let given = self.given(variable)?.map(|value| value.to_string());
        Ok(given.or(match variable.default {
            Unset::Value(default) => Some(default.to_owned()),
            _ => None,
        }))
    }

    pub(super) fn required(&mut self, variable: &Variable) -> Result<String, Refused> {
        self.text(variable)?.ok_or_else(|| self.missing(variable))
    }

    pub(super) fn secret(&mut self, variable: &Variable) -> Result<Option<Secret>, Refused> {
        let given = self.given(variable)?.map(|mut value| Secret::new(std::mem::take(&mut *value)));
        Ok(given.or(match variable.default {
            Unset::Value(default) => Some(Secret::new(default.to_owned())),
            _ => None,
        }))
    }

    pub(super) fn required_secret(&mut self, variable: &Variable) -> Result<Secret, Refused> {
        self.secret(variable)?.ok_or_else(|| self.missing(variable))
    }

    /// `parse` answers none to a value that breaks the variable's rule.
    pub(super) fn parsed<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Refused> {
        let text = self.required(variable)?;
        parse(&text).ok_or_else(|| self.refuse(variable))
    }

    /// The same for a variable that may be left out.
    pub(super) fn given_parsed<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refused> {
        let Some(text) = self.text(variable)? else { return Ok(None) };
        parse(&text).map(Some).ok_or_else(|| self.refuse(variable))
    }

    /// The value that belongs to the word given. Case does not count: Django's level names are upper case.
    pub(super) fn choice<T: Copy>(&mut self, variable: &Variable, choices: &[(&str, T)]) -> Result<T, Refused> {
        self.parsed(variable, |text| chosen(text, choices))
    }

    pub(super) fn flag(&mut self, variable: &Variable) -> Result<bool, Refused> {
        self.given_flag(variable)?.ok_or_else(|| self.missing(variable))
    }

    /// None if neither the operator nor the registry says yes or no.
    pub(super) fn given_flag(&mut self, variable: &Variable) -> Result<Option<bool>, Refused> {
        const WORDS: [(&str, bool); 8] = [
            ("true", true),
            ("1", true),
            ("yes", true),
            ("on", true),
            ("false", false),
            ("0", false),
            ("no", false),
            ("off", false),
        ];
        let Some(text) = self.text(variable)? else { return Ok(None) };
        chosen(&text, &WORDS).map(Some).ok_or_else(|| self.refuse(variable))
    }

    pub(super) fn whole(&mut self, variable: &Variable) -> Result<u32, Refused> {
        self.given_whole(variable)?.ok_or_else(|| self.missing(variable))
    }

    /// None if neither the operator nor the registry gives a number.
    pub(super) fn given_whole(&mut self, variable: &Variable) -> Result<Option<u32>, Refused> {
        let Some(text) = self.text(variable)? else { return Ok(None) };
        // `parse` alone would take a leading plus.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && is_within(variable.rule, *number));
        number.map(Some).ok_or_else(|| self.refuse(variable))
    }

    pub(super) fn seconds(&mut self, variable: &Variable) -> Result<Duration, Refused> {
        self.duration(variable, 1)
    }

    pub(super) fn minutes(&mut self, variable: &Variable) -> Result<Duration, Refused> {
        self.duration(variable, 60)
    }

    pub(super) fn hours(&mut self, variable: &Variable) -> Result<Duration, Refused> {
        self.duration(variable, 60 * 60)
    }

    pub(super) fn days(&mut self, variable: &Variable) -> Result<Duration, Refused> {
        self.duration(variable, 24 * 60 * 60)
    }

    fn duration(&mut self, variable: &Variable, unit_seconds: u64) -> Result<Duration, Refused> {
        Ok(Duration::from_secs(u64::from(self.whole(variable)?) * unit_seconds))
    }

    /// The entries of a comma list, white space around them and empty ones left out.
    pub(super) fn list(&mut self, variable: &Variable) -> Result<Vec<String>, Refused> {
        let text = self.text(variable)?.unwrap_or_default();
        let items: Vec<_> = items(&text).take(LIST_ITEMS_MAX + 1).map(str::to_owned).collect();
        if items.len() > LIST_ITEMS_MAX {
            return Err(self.refuse_because(variable, format!("must have at most {LIST_ITEMS_MAX} entries")));
        }
        Ok(items)
    }

    /// A comma list of which every entry must parse.
    pub(super) fn parsed_list<T>(
        &mut self,
        variable: &Variable,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Refused> {
        let parsed = self.list(variable)?.iter().map(|item| parse(item)).collect::<Option<Vec<_>>>();
        parsed.ok_or_else(|| self.refuse(variable))
    }
}

/// The entries of a comma list.
pub(super) fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Spaces may be part of a password; the end of the line that a file or a CRLF left behind never is.
fn trimmed<'v>(variable: &Variable, value: &'v str) -> &'v str {
    if variable.secret { value.trim_end_matches(['\r', '\n']) } else { value.trim() }
}

/// `<strong_password>`, as the guide prints what an operator has to fill in. A bare `<address@host>` is a mailbox.
fn is_placeholder(value: &str) -> bool {
    value.starts_with('<') && value.ends_with('>') && !value.contains('@')
}

fn is_within(rule: Rule, number: u32) -> bool {
    match rule {
        Rule::Whole { min, max } => (min..=max).contains(&number),
        Rule::Flag | Rule::Text(_) => true,
    }
}

fn chosen<T: Copy>(text: &str, choices: &[(&str, T)]) -> Option<T> {
    choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
}
