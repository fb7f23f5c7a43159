//! PEM (RFC 7468): the text form of keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// Characters of a line. Source: RFC 7468, section 2.
const LINE: usize = 64;

/// One block: what it says it holds, and its bytes.
pub struct Block {
    pub label: String,
    pub der: Zeroizing<Vec<u8>>,
}

/// The blocks of a text, one after the other. `None` when there is none, when anything but white space stands between two, or
/// when one cannot be read. Line breaks may be written as `\n`: not every tool can put real ones into a variable.
pub fn blocks(text: &str) -> Option<Vec<Block>> {
    let text = Zeroizing::new(text.replace("\\r", "").replace("\\n", "\n"));
    let mut blocks = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (label, body) = rest.strip_prefix(BEGIN)?.split_once(DASHES)?;
        let (body, after) = body.split_once(END)?;
        let after = after.strip_prefix(label)?.strip_prefix(DASHES)?;
        let mut encoded = Zeroizing::new(String::with_capacity(body.len()));
        encoded.extend(body.chars().filter(|character| !character.is_ascii_whitespace()));
        blocks.push(Block { label: label.to_owned(), der: Zeroizing::new(STANDARD.decode(&*encoded).ok()?) });
        rest = after.trim_start();
    }
    (!blocks.is_empty()).then_some(blocks)
}

/// One block as text, with a line feed at its end.
pub fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 2 * label.len() + 64));
    for part in [BEGIN, label, DASHES, "\n"] {
        text.push_str(part);
    }
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    for part in [END, label, DASHES, "\n"] {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_again_also_with_written_line_breaks_and_in_company() {
        let (one, two) = (encode("PUBLIC KEY", &[7; 91]), encode("X", b"y"));
        let both = format!("{}\n  {}", *one, *two);
        for text in [both.clone(), both.replace('\n', "\\n"), both.replace('\n', "\r\n")] {
            let read = blocks(&text).unwrap();
            assert_eq!(read.len(), 2, "{text}");
            assert_eq!((read[0].label.as_str(), read[0].der.as_slice()), ("PUBLIC KEY", [7; 91].as_slice()));
            assert_eq!((read[1].label.as_str(), read[1].der.as_slice()), ("X", b"y".as_slice()));
        }
        assert!(one.lines().all(|line| line.len() <= LINE));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let good = encode("X", b"y");
        for text in [
            String::new(),
            "secret".to_owned(),
            format!("{}secret", *good),
            format!("secret{}", *good),
            good.replace("END X", "END Y"),
            good.replace("eQ==", "e!=="),
            good[..good.len() - 3].to_owned(),
        ] {
            assert!(blocks(&text).is_none(), "{text}");
        }
    }
}
