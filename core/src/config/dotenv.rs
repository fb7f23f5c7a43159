//! The grammar of a `.env` file, as its operators know it from python-dotenv: `NAME=value`, `export`, quotes, comments
//! and CRLF. Nothing is expanded: a `$` in a password is a `$`.

use std::collections::BTreeMap;

use super::fault::{Fault, Faults};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// All assignments; of a repeated name the last one counts.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, Faults> {
    let mut assignments = BTreeMap::new();
    let mut faults = Vec::new();
    let mut rest = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (parsed, after) = statement(rest);
        match parsed {
            Ok(None) => {}
            Ok(Some((name, value))) => {
                assignments.insert(name, value);
            }
            Err(rule) => faults.push(Fault { variable: format!(".env line {line}").into(), rule: rule.into() }),
        }
        line += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    if faults.is_empty() { Ok(assignments) } else { Err(Faults::new(faults)) }
}

type Statement = Result<Option<(String, String)>, &'static str>;

/// The first statement of `text`, and the text after it. Only a quoted value may go over several lines.
fn statement(text: &str) -> (Statement, &str) {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let content = line.trim();
    if content.is_empty() || content.starts_with('#') {
        return (Ok(None), after);
    }
    let content = match content.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => content,
    };
    let Some((name, _)) = content.split_once('=') else {
        // A name alone asks for the variable of the process, which is what happens anyway.
        return (if is_name(content) { Ok(None) } else { Err("must read NAME=value") }, after);
    };
    let name = name.trim_end();
    if !is_name(name) {
        return (Err("must read NAME=value"), after);
    }
    // The same text again, without the end of the line cut off: a quoted value may go beyond it.
    let raw = text.split_once('=').map_or("", |(_, raw)| raw);
    let value = raw.trim_start_matches([' ', '\t']);
    let (value, after) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => match quoted(&value[1..], quote) {
            Some(found) => found,
            None => return (Err("has a quote that is never closed"), after),
        },
        _ => return (Ok(Some((name.to_owned(), unquoted(raw.split('\n').next().unwrap_or(""))))), after),
    };
    let (tail, after) = after.split_once('\n').unwrap_or((after, ""));
    let tail = tail.trim();
    if !tail.is_empty() && !tail.starts_with('#') {
        return (Err("has text after the closing quote"), after);
    }
    (Ok(Some((name.to_owned(), value))), after)
}

/// The value up to the closing quote, and the text after that. Single quotes are literal but for `\'` and `\\`.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            end if end == quote => return Some((value, &text[at + end.len_utf8()..])),
            '\\' => match (characters.next()?.1, quote) {
                (escaped @ '\\', _) => value.push(escaped),
                (escaped, _) if escaped == quote => value.push(escaped),
                ('n', '"') => value.push('\n'),
                ('r', '"') => value.push('\r'),
                ('t', '"') => value.push('\t'),
                (other, _) => value.extend(['\\', other]),
            },
            '\r' if text[at..].starts_with("\r\n") => {}
            other => value.push(other),
        }
    }
    None
}

/// The value up to a comment; a `#` begins one only after white space, so keys may contain it.
fn unquoted(line: &str) -> String {
    let is_comment = |(at, _): &(usize, &str)| line[..*at].ends_with([' ', '\t']);
    let end = line.match_indices('#').find(is_comment).map_or(line.len(), |(at, _)| at);
    line[..end].trim().to_owned()
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|other| other.is_ascii_alphanumeric() || matches!(other, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_parsed(text: &str, expected: &[(&str, &str)]) {
        let parsed = parse(text).unwrap();
        let parsed: Vec<_> = parsed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(parsed, expected);
    }

    #[test]
    fn plain_assignments_are_trimmed() {
        assert_parsed("A=1\n  B = two words \nC=", &[("A", "1"), ("B", "two words"), ("C", "")]);
    }

    #[test]
    fn a_comment_needs_white_space_before_it() {
        assert_parsed(
            "# first\nA=1  # Default: 1\nB=ab#cd\nC= # nothing\nD=#x\n   # last",
            &[("A", "1"), ("B", "ab#cd"), ("C", ""), ("D", "#x")],
        );
    }

    #[test]
    fn export_is_understood_and_names_may_begin_with_it() {
        assert_parsed(
            "export A=1\nexport\tB=2\nexported=3\nexport=4",
            &[("A", "1"), ("B", "2"), ("export", "4"), ("exported", "3")],
        );
    }

    #[test]
    fn lines_may_end_with_crlf_and_the_file_may_begin_with_a_byte_order_mark() {
        assert_parsed("\u{feff}A=1\r\nB=\"2\"\r\n\r\nC='3' # x\r\n", &[("A", "1"), ("B", "2"), ("C", "3")]);
    }

    #[test]
    fn quotes_keep_spaces_comments_and_equal_signs() {
        assert_parsed(
            "A=\" x # y \"\nB=' x = y '\nC=\"\"\nD=''",
            &[("A", " x # y "), ("B", " x = y "), ("C", ""), ("D", "")],
        );
    }

    #[test]
    fn double_quotes_know_escapes_and_single_quotes_are_literal() {
        assert_parsed(r#"A="a\"b\\c\nd\x""#, &[("A", "a\"b\\c\nd\\x")]);
        assert_parsed(r"A='a\nb\'c'", &[("A", r"a\nb'c")]);
    }

    #[test]
    fn a_quoted_value_may_go_over_several_lines() {
        assert_parsed("A=\"one\r\ntwo\"\nB=3", &[("A", "one\ntwo"), ("B", "3")]);
    }

    #[test]
    fn nothing_is_expanded() {
        assert_parsed("A=x\nB=${A}$A\nC=\"$A\"", &[("A", "x"), ("B", "${A}$A"), ("C", "$A")]);
    }

    #[test]
    fn the_last_of_a_repeated_name_counts() {
        assert_parsed("A=1\nB=2\nA=3", &[("A", "3"), ("B", "2")]);
    }

    #[test]
    fn faults_name_their_lines_and_show_none_of_the_text() {
        let faults = parse("A=1\nB=\"x\ny\"\n? canary\n9C=canary\nD='canary' canary\nE=\"canary").unwrap_err();
        assert_eq!(
            faults.to_string(),
            ".env line 4: must read NAME=value\n.env line 5: must read NAME=value\n\
             .env line 6: has text after the closing quote\n.env line 7: has a quote that is never closed"
        );
    }

    #[test]
    fn no_short_text_stops_the_parser() {
        let mut texts = vec![String::new()];
        for _ in 0..6 {
            texts =
                texts.iter().flat_map(|text| "A=\"'\\\n #é".chars().map(move |next| format!("{text}{next}"))).collect();
            for text in &texts {
                if let Ok(assignments) = parse(text) {
                    assert!(assignments.keys().all(|name| is_name(name)), "{text:?}");
                }
            }
        }
    }
}
