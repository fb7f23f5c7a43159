//! Passwords that come from standard input or from chance, never from an argument: arguments are seen by every process.

use std::io::{IsTerminal, Read};

use anyhow::{Context as _, bail};
use doorbook_core::password::{LENGTH_MAX, PasswordError};
use doorbook_core::token::random;
use zeroize::Zeroizing;

/// Crockford's base 32: no two symbols that look alike, and 5 bits each.
const SYMBOLS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 25 symbols hold 125 bits: nobody guesses that, and it can be read aloud.
const GENERATED_SYMBOLS: usize = 25;
const GROUP: usize = 5;
/// Longest password in bytes (4 a character), a line end and one byte more, by which a longer one is noticed.
const INPUT_BYTES_MAX: u64 = 4 * LENGTH_MAX as u64 + 3;

/// A password that nobody has chosen.
pub fn generate() -> Zeroizing<String> {
    let chance = Zeroizing::new(random::<GENERATED_SYMBOLS>());
    let mut text = Zeroizing::new(String::with_capacity(GENERATED_SYMBOLS + GENERATED_SYMBOLS / GROUP));
    for (at, byte) in chance.iter().enumerate() {
        if at > 0 && at % GROUP == 0 {
            text.push('-');
        }
        text.push(char::from(SYMBOLS[usize::from(byte % 32)]));
    }
    text
}

/// The password that is piped in.
pub fn from_stdin() -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        bail!("--password-stdin reads a pipe or a file: a terminal would show the password");
    }
    read(stdin.lock())
}

/// One line end at the end belongs to the tool that wrote it; everything else is the password.
fn read(input: impl Read) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(INPUT_BYTES_MAX)?));
    input.take(INPUT_BYTES_MAX).read_to_end(&mut bytes).context("the password cannot be read")?;
    if u64::try_from(bytes.len())? == INPUT_BYTES_MAX {
        bail!("{}", PasswordError::TooLong);
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(Zeroizing::new(std::str::from_utf8(line).context("the password is not UTF-8")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_are_long_legible_and_never_the_same() {
        let (one, other) = (generate(), generate());
        assert_eq!((one.len(), one.matches('-').count()), (29, 4));
        assert!(one.bytes().all(|symbol| symbol == b'-' || SYMBOLS.contains(&symbol)));
        assert_ne!(*one, *other);
    }

    #[test]
    fn every_symbol_comes_up_about_equally_often() {
        let mut counts = [0_u32; 256];
        for _ in 0..2_000 {
            generate().bytes().for_each(|symbol| counts[usize::from(symbol)] += 1);
        }
        // 50,000 symbols, 1,562 each on average; ten standard deviations are 390.
        for symbol in SYMBOLS {
            assert!((1_172..1_953).contains(&counts[usize::from(*symbol)]), "{}", char::from(*symbol));
        }
    }

    #[test]
    fn one_line_end_is_not_part_of_the_password_and_spaces_are() {
        for (input, password) in
            [("pass word ", "pass word "), ("pass\n", "pass"), ("pass\r\n", "pass"), ("pass\n\n", "pass\n"), ("", "")]
        {
            assert_eq!(read(input.as_bytes()).unwrap().as_str(), password, "{input:?}");
        }
        assert!(read([0xff_u8].as_slice()).is_err());
    }

    #[test]
    fn the_longest_password_passes_and_a_longer_one_is_not_cut_to_it() {
        let longest = "😀".repeat(LENGTH_MAX);
        assert_eq!(*read(format!("{longest}\r\n").as_bytes()).unwrap(), longest);
        let error = read(format!("{longest}ab\n").as_bytes()).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }
}
