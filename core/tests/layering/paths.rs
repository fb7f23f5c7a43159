//! Reads Rust well enough to know what a file names: `use` trees are spelt out, comments and literals are left out.

use std::collections::BTreeSet;

/// What one file names.
#[derive(Debug, Default)]
pub struct Names {
    /// Every path of two segments or more, and every `use` of a single one.
    pub paths: BTreeSet<String>,
    /// Names that the file brings in itself, by `use` or `mod`: what begins with one is no import.
    pub bound: BTreeSet<String>,
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Other(char),
}

pub fn names(source: &str) -> Names {
    let tokens = tokens(source);
    let mut names = Names::default();
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at] {
            Token::Word(word) if word == "use" => use_tree(&tokens, at + 1, "", &mut names),
            Token::Word(word) if word == "mod" => {
                if let Some(Token::Word(name)) = tokens.get(at + 1) {
                    names.bound.insert(name.clone());
                }
                at + 2
            }
            Token::Word(_) => path(&tokens, at, &mut names),
            Token::Colons | Token::Other(_) => at + 1,
        };
    }
    names
}

/// A path in place. A word after `.` or alone is none.
fn path(tokens: &[Token], mut at: usize, names: &mut Names) -> usize {
    let mut segments = Vec::new();
    while let Some(Token::Word(word)) = tokens.get(at) {
        segments.push(word.as_str());
        at += 1;
        match (tokens.get(at), tokens.get(at + 1)) {
            (Some(Token::Colons), Some(Token::Word(_))) => at += 1,
            _ => break,
        }
    }
    if segments.len() > 1 {
        names.paths.insert(segments.join("::"));
    }
    at
}

/// One tree of a `use`, up to what ends it.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &str, names: &mut Names) -> usize {
    let mut path = prefix.to_owned();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) if word == "as" => {
                if let Some(Token::Word(name)) = tokens.get(at + 1) {
                    names.bound.insert(name.clone());
                }
                at += 2;
            }
            Some(Token::Word(word)) => {
                path = if path.is_empty() { word.clone() } else { format!("{path}::{word}") };
                at += 1;
            }
            Some(Token::Other('*')) => {
                path.push_str("::*");
                at += 1;
            }
            Some(Token::Colons) => at += 1,
            Some(Token::Other('{')) => {
                at += 1;
                while !matches!(tokens.get(at), None | Some(Token::Other('}'))) {
                    at = use_tree(tokens, at, &path, names);
                    if matches!(tokens.get(at), Some(Token::Other(','))) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => {
                // `self` in a group stands for the group's own path.
                let path = path.strip_suffix("::self").unwrap_or(&path);
                if let Some((_, last)) = path.rsplit_once("::") {
                    names.bound.insert(last.to_owned());
                }
                names.paths.insert(path.to_owned());
                return at;
            }
        }
    }
}

fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        let next = text.get(at + 1).copied();
        at = match (c, next) {
            ('/', Some('/')) => end_of(&text, at, |c| c == '\n'),
            ('/', Some('*')) => block_comment(&text, at),
            ('"', _) => string(&text, at + 1),
            ('\'', Some('\\')) => end_of(&text, at + 3, |c| c == '\'') + 1,
            ('\'', _) if text.get(at + 2) == Some(&'\'') => at + 3,
            ('r', Some('"' | '#')) if raw_string(&text, at + 1).is_some() => {
                raw_string(&text, at + 1).unwrap_or(text.len())
            }
            (':', Some(':')) => {
                tokens.push(Token::Colons);
                at + 2
            }
            _ if c.is_alphabetic() || c == '_' => {
                let end = end_of(&text, at, |c| !c.is_alphanumeric() && c != '_');
                let word: String = text[at..end].iter().collect();
                // The prefixes of literals: b"", br"", c"".
                if text.get(end) == Some(&'"') && matches!(word.as_str(), "b" | "c") {
                    string(&text, end + 1)
                } else if let (Some(end), "br" | "cr") = (raw_string(&text, end), word.as_str()) {
                    end
                } else {
                    tokens.push(Token::Word(word));
                    end
                }
            }
            _ => {
                if !c.is_whitespace() {
                    tokens.push(Token::Other(c));
                }
                at + 1
            }
        };
    }
    tokens
}

fn end_of(text: &[char], from: usize, ends: impl Fn(char) -> bool) -> usize {
    (from..text.len()).find(|at| ends(text[*at])).unwrap_or(text.len())
}

fn block_comment(text: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < text.len() {
        match text[at..].get(..2) {
            Some(['/', '*']) => (depth, at) = (depth + 1, at + 2),
            Some(['*', '/']) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// Behind the string whose first character stands at `from`.
fn string(text: &[char], mut from: usize) -> usize {
    while let Some(c) = text.get(from) {
        match c {
            '\\' => from += 2,
            '"' => return from + 1,
            _ => from += 1,
        }
    }
    from
}

/// Behind the raw string whose `#` or `"` stands at `from`; `None` when it is none, but `r#name`.
fn raw_string(text: &[char], from: usize) -> Option<usize> {
    let quote = end_of(text, from, |c| c != '#');
    let hashes = quote - from;
    if text.get(quote) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| text[*at] == '"' && text[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    Some((quote + 1..text.len()).find(closes).map_or(text.len(), |at| at + 1 + hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_trees_are_spelt_out_and_their_names_are_bound() {
        let names = names("use a::{self, b::{C, d as e}, f::*};\npub(crate) use ::g;\nmod h;\n");
        let paths: Vec<&str> = names.paths.iter().map(String::as_str).collect();
        assert_eq!(paths, ["a", "a::b::C", "a::b::d", "a::f::*", "g"]);
        for bound in ["C", "e", "h"] {
            assert!(names.bound.contains(bound), "{bound}");
        }
    }

    #[test]
    fn paths_in_place_attributes_and_macros_are_seen() {
        let names =
            names("#[tokio::main] fn f<'a>(x: &'a std::env::Args) { sqlx::query!(\"x\"); <T as k::U>::v('\"', b::c) }");
        let paths: Vec<&str> = names.paths.iter().map(String::as_str).collect();
        assert_eq!(paths, ["b::c", "k::U", "sqlx::query", "std::env::Args", "tokio::main"]);
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let source = r##"
            // a::b
            /* c::d /* e::f */ g::h */
            const X: &str = "i::j \" k::l";
            const Y: &str = r#"m::n " o::p"#;
            const Z: &[u8] = b"q::r";
            const C: char = '\'';
            fn r#type() {}
        "##;
        assert!(names(source).paths.is_empty(), "{:?}", names(source).paths);
    }
}
