//! Makes what a server said safe to store and to log. Servers repeat addresses ("<ana@example.com>: no such user"),
//! and content filters repeat links, which in our mails carry tokens.

/// Longest answer kept, in characters. Ours: a long reply with its explanation fits; lettre lets 100,000 bytes in.
const LENGTH_MAX: usize = 300;

/// One line without control characters, words with an address or a link replaced.
pub(super) fn safe(answer: &str) -> String {
    let mut line = String::new();
    // Cut to words before anything else: a token must not survive because its link was cut in half.
    for word in answer.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(public(word));
        if line.chars().count() > LENGTH_MAX {
            return line.chars().take(LENGTH_MAX).chain(['…']).collect();
        }
    }
    line
}

fn public(word: &str) -> &str {
    let has = |needle: &str| word.to_ascii_lowercase().contains(needle);
    if has("://") || has("token") || has("%3a%2f%2f") || has("www.") {
        "[link]"
    } else if word.contains('@') {
        "[address]"
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_answer_stays_as_it_is() {
        assert_eq!(safe("250 2.0.0 Ok: queued as 4F1A2"), "250 2.0.0 Ok: queued as 4F1A2");
    }

    #[test]
    fn addresses_and_links_are_replaced() {
        assert_eq!(
            safe("550 5.1.1 <ana@example.com>: no such user, see https://help.example/?token=abc"),
            "550 5.1.1 [address] no such user, see [link]"
        );
        assert_eq!(safe("554 bad url:HTTPS://app.example/reset?TOKEN=abc"), "554 bad [link]");
    }

    #[test]
    fn line_breaks_and_control_characters_cannot_forge_a_log_line() {
        assert_eq!(safe("550 no\r\n{\"level\":\"error\"}\u{1b}[2J"), "550 no {\"level\":\"error\"} [2J");
    }

    #[test]
    fn a_long_answer_is_cut() {
        let cut = safe(&"x".repeat(100_000));
        assert_eq!(cut.chars().count(), LENGTH_MAX + 1);
        assert!(cut.ends_with('…'));
    }
}
