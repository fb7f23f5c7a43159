//! Passwords known from breaches, from a file that the operator supplies.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use aws_lc_rs::digest;

const SHA1_LEN: usize = digest::SHA1_OUTPUT_LEN;

/// Most entries read, at 20 bytes each: 200 MB of memory.
const ENTRIES_MAX: usize = 10_000_000;

/// A set of breached passwords. It is kept as SHA-1 digests, the form in which such lists are published.
pub struct BreachedList(Vec<[u8; SHA1_LEN]>);

impl BreachedList {
    /// Reads the file at `path`; see [`BreachedList::read`].
    pub fn load(path: &Path) -> io::Result<Self> {
        Self::read(BufReader::new(File::open(path)?))
    }

    /// One password a line: plain, or as its SHA-1 in hex, with or without `:count` after it. Any order; empty lines
    /// are skipped. A list of over 10,000,000 entries is an error rather than cut short.
    pub fn read(lines: impl BufRead) -> io::Result<Self> {
        let mut digests = Vec::new();
        for line in lines.split(b'\n') {
            let line = line?;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                continue;
            }
            if digests.len() == ENTRIES_MAX {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {ENTRIES_MAX} entries")));
            }
            digests.push(listed_digest(line).unwrap_or_else(|| sha1(line)));
        }
        digests.sort_unstable();
        digests.dedup();
        Ok(Self(digests))
    }

    pub(super) fn contains(&self, password: &str) -> bool {
        self.0.binary_search(&sha1(password.as_bytes())).is_ok()
    }
}

/// The digest that a line spells, if it spells one.
fn listed_digest(line: &[u8]) -> Option<[u8; SHA1_LEN]> {
    let (hex, rest) = line.split_at_checked(2 * SHA1_LEN)?;
    if !(rest.is_empty() || rest.starts_with(b":")) {
        return None;
    }
    let mut digest = [0; SHA1_LEN];
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = u8::try_from(nibble(pair[0])? * 16 + nibble(pair[1])?).ok()?;
    }
    Some(digest)
}

fn nibble(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

fn sha1(bytes: &[u8]) -> [u8; SHA1_LEN] {
    let mut digest = [0; SHA1_LEN];
    digest.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lines: &str) -> BreachedList {
        BreachedList::read(lines.as_bytes()).unwrap()
    }

    #[test]
    fn digests_and_plain_lines_are_read_in_any_order() {
        // The SHA-1 of "password", as published, and of "abc" (FIPS 180-4 example).
        let list = list(
            "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:9545824\r\n\nplain line\na9993e364706816aba3e25717850c26c9cd0d89d\n",
        );
        for listed in ["password", "abc", "plain line"] {
            assert!(list.contains(listed), "{listed}");
        }
        for other in ["Password", "plain line ", "", "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8"] {
            assert!(!list.contains(other), "{other}");
        }
    }

    #[test]
    fn a_line_that_only_resembles_a_digest_is_a_password() {
        let almost = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FDx";
        let longer = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8ff";
        let list = list(&format!("{almost}\n{longer}"));
        assert!(list.contains(almost) && list.contains(longer) && !list.contains("password"));
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert!(BreachedList::load(Path::new("no such file")).is_err());
    }
}
