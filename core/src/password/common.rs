//! The passwords that most people choose.

use std::collections::HashSet;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

/// Django's list: 19,640 passwords in lower case, one a line. Its licence lies beside it.
static LIST_GZ: &[u8] = include_bytes!("../../data/common-passwords.txt.gz");

static LIST: LazyLock<HashSet<Box<str>>> = LazyLock::new(|| {
    let mut text = String::new();
    GzDecoder::new(LIST_GZ).read_to_string(&mut text).expect("the embedded list is gzip and UTF-8; a test reads it");
    text.lines().map(|line| trim(line).into()).collect()
});

/// Whether `lowercase`, without the white space around it, is on the list.
pub(super) fn is_common(lowercase: &str) -> bool {
    LIST.contains(trim(lowercase))
}

/// Python's `str.strip`, which also takes the four ASCII separators.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_list_is_whole() {
        assert_eq!(LIST.len(), 19_640);
    }

    #[test]
    fn white_space_around_does_not_hide_a_common_password() {
        assert!(is_common("\u{1f}\u{3000}letmein\t"));
        assert!(!is_common("let mein"));
    }
}
