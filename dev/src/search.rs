//! Finds tokens where they must not be: in files, dumps and logs.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of an opaque token before its MAC: id, generation and the salt, which the row keeps.
pub const HEAD: usize = 36;

/// An opaque token's bytes after its prefix; `None` when that is not base64.
pub fn decode(token: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(token.get(4..)?).ok()
}

/// Bytes as a dump shows them.
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]).collect()
}

/// What would give a token away: its secret part as text, as bytes and as a dump shows bytes. Nothing for what is no token.
pub fn forms(token: &str) -> Vec<Vec<u8>> {
    let secret = match token.rsplit_once('.') {
        Some((_, signature)) => URL_SAFE_NO_PAD.decode(signature).ok().map(|bytes| (signature, bytes)),
        None => decode(token)
            .filter(|bytes| bytes.len() > HEAD)
            .map(|mut bytes| (&token[token.len() - ((bytes.len() - HEAD) * 4).div_ceil(3)..], bytes.split_off(HEAD))),
    };
    secret.map_or_else(Vec::new, |(text, bytes)| vec![text.into(), hex(&bytes), bytes])
}

/// Finds many needles in one pass: by their first four bytes, and those by the first two.
pub struct Search {
    starts: Vec<bool>,
    needles: HashMap<[u8; 4], Vec<Vec<u8>>>,
}

impl Search {
    /// Needles under four bytes are not looked for.
    pub fn new(forms: impl Iterator<Item = Vec<u8>>) -> Self {
        let (mut starts, mut needles) = (vec![false; 1 << 16], HashMap::<_, Vec<_>>::new());
        for form in forms {
            let Some(start) = form.first_chunk::<4>().copied() else { continue };
            starts[usize::from(u16::from_be_bytes([start[0], start[1]]))] = true;
            needles.entry(start).or_default().push(form);
        }
        Self { starts, needles }
    }

    pub fn hits(&self, hay: &[u8]) -> usize {
        let found = |(at, start): (usize, &[u8])| {
            self.starts[usize::from(u16::from_be_bytes([start[0], start[1]]))]
                && self
                    .needles
                    .get(start)
                    .is_some_and(|needles| needles.iter().any(|needle| hay[at..].starts_with(needle)))
        };
        hay.windows(4).enumerate().filter(|window| found(*window)).count()
    }
}
