//! How much a password resembles what is known about its owner: the measure of Django's validator, which is the
//! upper bound `quick_ratio` of Python's difflib.

use std::collections::HashMap;

use unicode_normalization::char::is_combining_mark;

/// Least ratio that is refused, in tenths. Source: Django, `max_similarity = 0.7`.
const RATIO_TENTHS: usize = 7;

/// A part this many times shorter than the password cannot reach the ratio and is not compared. Source: Django.
const LENGTH_RATIO: usize = 10;

/// Whether `password` resembles `attribute` or one of its words. Both are in lower case.
pub(super) fn is_similar(password: &str, attribute: &str) -> bool {
    let counts = counts(password);
    let length: usize = counts.values().sum();
    words(attribute).chain([attribute]).any(|part| {
        let part_length = part.chars().count();
        if length >= LENGTH_RATIO * part_length {
            return false;
        }
        // Twice what both have in common, by the length of both, is at least the ratio; in integers.
        10 * 2 * common_chars(counts.clone(), part) >= RATIO_TENTHS * (length + part_length)
    })
}

/// The words of `text`, as Python's `\w+` sees them. Marks count as separators there.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c == '_' || (c.is_alphanumeric() && !is_combining_mark(c));
    text.split(move |c| !is_word(c)).filter(|word| !word.is_empty())
}

fn counts(text: &str) -> HashMap<char, usize> {
    let mut counts = HashMap::new();
    for c in text.chars() {
        *counts.entry(c).or_default() += 1;
    }
    counts
}

/// How many characters of `part` find a partner among `left`, regardless of order.
fn common_chars(mut left: HashMap<char, usize>, part: &str) -> usize {
    let mut takes = |c: &char| match left.get_mut(c) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    part.chars().filter(|c| takes(c)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_tenths_are_too_much_and_less_is_not() {
        // 14 of 20 characters in common, and 13 of 19.
        assert!(is_similar("abcdefgxyz", "abcdefghij"));
        assert!(!is_similar("abcdefgxyz", "abcdefhij"));
    }

    #[test]
    fn the_order_of_characters_is_no_defence() {
        assert!(is_similar("rekcuzte", "etzucker"));
    }

    #[test]
    fn each_word_of_an_attribute_counts() {
        assert!(is_similar("betancourt1", "ana.betancourt+news@example.org"));
        assert!(!is_similar("q7-mistral-opus", "ana.betancourt+news@example.org"));
    }

    #[test]
    fn a_word_far_shorter_than_the_password_is_not_compared() {
        assert!(!is_similar("aaaaaaaaaa", "a"));
    }

    #[test]
    fn words_are_split_as_python_does() {
        assert_eq!(words("o'neill_jr-née@x").collect::<Vec<_>>(), ["o", "neill_jr", "née", "x"]);
        assert_eq!(words("\u{939}\u{93f}\u{928}").collect::<Vec<_>>(), ["\u{939}", "\u{928}"]);
    }
}
