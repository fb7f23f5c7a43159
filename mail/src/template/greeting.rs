//! Which first names may appear in a mail.

/// Longest name used, in characters. Ours: longer ones are rarely names.
const LENGTH_MAX: usize = 40;

/// The name, if it looks like one. Anybody can register anybody's address with any "name", so a name is also a way to
/// send a stranger's words from our server: what could be a link, a sentence with figures, markup or a line of its own
/// is not used, and the mail greets without a name. Leaving it out beats repairing it.
pub(super) fn usable_name(name: &str) -> Option<&str> {
    let name = name.trim();
    // Counted with a bound first: a name of 64 KB costs no more than a short one.
    let short = !name.is_empty() && name.chars().take(LENGTH_MAX + 1).count() <= LENGTH_MAX;
    (short && name.chars().all(belongs_to_a_name) && dots_end_words(name)).then_some(name)
}

fn belongs_to_a_name(c: char) -> bool {
    match c {
        ' ' | '\'' | '-' | '.' => true,
        _ if c.is_ascii() => c.is_ascii_alphabetic(),
        _ => !(c.is_control() || c.is_whitespace() || c.is_numeric() || invisible_or_directional(c)),
    }
}

/// `J. R.` and `Jr.` are names, `evil.example` is a host.
fn dots_end_words(name: &str) -> bool {
    name.split('.').skip(1).all(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Format characters that reorder, hide or join text, private use, and full stops that resolve like the ASCII one.
/// Source: Unicode 16, general categories Cf and Co; UTS 46 for the stops.
fn invisible_or_directional(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x061C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x3164 | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFF
        | 0x3002 | 0xFF0E | 0xFF61 | 0x2024 | 0xFF0F | 0x2044 | 0x2215 | 0xFF1A | 0xFF20
        | 0xE000..=0xF8FF | 0xE0000..=0x10_FFFF)
}

#[cfg(test)]
mod tests {
    use super::usable_name;

    #[test]
    fn names_of_people_are_used() {
        for name in ["Ana", "José María", "O'Neill", "Jean-Luc", "J. R.", "Łukasz", "محمد", "עברית", "李小龍", "क्षितिज"]
        {
            assert_eq!(usable_name(name), Some(name));
        }
        assert_eq!(usable_name("  Ana "), Some("Ana"));
    }

    #[test]
    fn what_is_no_name_is_left_out() {
        let long = "a".repeat(41);
        let huge = "a".repeat(64 * 1024);
        for name in [
            "",
            "   ",
            "evil.example",
            "http://evil.example",
            "Win 1000",
            "<b>Ana</b>",
            "{{ site }}",
            "Ana\r\nBcc: x@y.z",
            "Ana\nBcc",
            "a@b",
            "Ana\u{202E}anA",
            "\u{200B}",
            "Ana\0",
            "evil\u{3002}example",
            "\u{2028}",
            "\"Ana\"",
            long.as_str(),
            huge.as_str(),
        ] {
            assert_eq!(usable_name(name), None, "{name:?}");
        }
    }
}
