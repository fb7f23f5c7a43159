//! A value that must never be printed.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// Wiped from memory when dropped; shows nothing of itself in `Debug`; has neither `Display`, `Clone` nor `Serialize`.
pub struct Secret<T: Zeroize = String>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself. The name is long so that a reviewer finds each use.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_nothing_of_the_value() {
        assert_eq!(format!("{:?}", Secret::new("canary".to_owned())), "Secret(…)");
        assert_eq!(format!("{:?}", Secret::new(vec![7_u8; 32])), "Secret(…)");
    }
}
