//! What is wrong with a configuration: the variable and the rule it breaks, never its value.

use std::borrow::Cow;
use std::fmt;

/// One broken rule. Both parts are written by this crate: nothing that an operator typed is ever stored here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub variable: Cow<'static, str>,
    pub rule: Cow<'static, str>,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.variable, self.rule)
    }
}

/// Everything that is wrong, one fault a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            fault.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
