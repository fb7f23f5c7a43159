//! The one e-mail normaliser. Look-up, limits and mails all start from an `Email`.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// Longest address accepted, in bytes. Source: RFC 5321, 4.5.3.1.3.
pub const LENGTH_MAX: usize = 254;
/// Longest local part, in bytes. Source: RFC 5321, 4.5.3.1.1.
const LOCAL_LENGTH_MAX: usize = 64;

/// A syntactically valid address. The display form is what the person typed (NFC, domain in ASCII lower case); mails go there
/// and nowhere else. The normal form decides which account is meant.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    display: String,
    normal: String,
    local_length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    #[error("must be at most {LENGTH_MAX} bytes long")]
    TooLong,
    #[error("must be an e-mail address such as name@example.com")]
    Malformed,
}

impl Email {
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        if text.len() > LENGTH_MAX * 4 {
            return Err(EmailError::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Malformed)?;
        let local: String = local.nfc().collect();
        let domain = parse_domain(domain)?;
        if local.len() > LOCAL_LENGTH_MAX || local.len() + 1 + domain.len() > LENGTH_MAX {
            return Err(EmailError::TooLong);
        }
        if !is_dot_atom(&local) {
            return Err(EmailError::Malformed);
        }
        // Lower case can compose differently, so it is brought to NFC once more.
        let folded: String = local.to_lowercase().nfc().collect();
        Ok(Self {
            display: format!("{local}@{domain}"),
            local_length: folded.len(),
            normal: format!("{folded}@{domain}"),
        })
    }

    /// A domain as it stands in an address; `None` where no address can have it.
    pub fn domain_of(text: &str) -> Option<String> {
        Self::parse(&format!("a@{text}")).ok().map(|email| email.domain().to_owned())
    }

    /// Where mails go, as the person wrote it.
    pub fn as_str(&self) -> &str {
        &self.display
    }

    /// What look-up keys are made of: equal for every spelling of one mailbox.
    pub fn normal_form(&self) -> &str {
        &self.normal
    }

    /// What limits are keyed by: the normal form without a plus-tag, so that tags do not multiply guesses.
    pub fn limit_form(&self) -> String {
        let (local, domain) = self.normal.split_at(self.local_length);
        let untagged = local.split_once('+').map_or(local, |(name, _)| if name.is_empty() { local } else { name });
        format!("{untagged}{domain}")
    }

    pub fn domain(&self) -> &str {
        &self.normal[self.local_length + 1..]
    }

    /// `j•••@example.com`, for logs and notices.
    pub fn masked(&self) -> String {
        format!("{}•••@{}", self.display.chars().next().unwrap_or('•'), self.domain())
    }
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked())
    }
}

/// UTS 46 to ASCII (full-width letters and letter case fall together), at least two labels, one trailing dot forgiven.
fn parse_domain(text: &str) -> Result<String, EmailError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let ascii = idna::domain_to_ascii_strict(text).map_err(|_| EmailError::Malformed)?;
    let labels_ok = ascii.contains('.')
        && ascii.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        && !ascii.rsplit('.').next().is_none_or(|top| top.bytes().all(|b| b.is_ascii_digit()));
    if labels_ok { Ok(ascii) } else { Err(EmailError::Malformed) }
}

/// RFC 5322 dot-atom, with letters, marks and digits of every script (RFC 6531). Quoted local parts are refused.
fn is_dot_atom(local: &str) -> bool {
    !local.is_empty() && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
    } else {
        c.is_alphanumeric() || canonical_combining_class(c) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        Email::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).normal_form().to_owned()
    }

    #[test]
    fn every_spelling_of_one_mailbox_has_one_normal_form() {
        let spellings = [
            "Ana.José@Example.com",
            "ana.josé@example.com",
            "ANA.JOSÉ@EXAMPLE.COM",
            "ana.jose\u{301}@example.com",
            "ana.josé@example.com.",
            "ana.josé@ｅｘａｍｐｌｅ.com",
        ];
        for spelling in spellings {
            assert_eq!(normal(spelling), "ana.josé@example.com", "{spelling}");
        }
        assert_eq!(normal("a@bücher.example"), normal("a@xn--bcher-kva.example"));
    }

    #[test]
    fn plus_tags_are_other_accounts_in_the_same_bucket() {
        let (plain, tagged) = (Email::parse("ana@example.com").unwrap(), Email::parse("Ana+shop@example.com").unwrap());
        assert_ne!(plain.normal_form(), tagged.normal_form());
        assert_eq!(plain.limit_form(), tagged.limit_form());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@localhost",
            " a@example.com",
            "a@example.com ",
            "a b@example.com",
            "a@@example.com",
            "a..b@example.com",
            ".a@example.com",
            "\"a\"@example.com",
            "a@exa mple.com",
            "a@example..com",
            "a@-example.com",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a\r\nbcc:b@example.com",
            "a\u{0}@example.com",
            "a＠example.com",
            "a@example.com\n",
            "a\u{202e}@example.com",
            "<a@example.com>",
            "a,b@example.com",
            &long,
        ] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_and_mask_do_not_show_the_address() {
        assert_eq!(format!("{:?}", Email::parse("josefina@example.com").unwrap()), "j•••@example.com");
    }
}
