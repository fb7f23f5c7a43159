//! `/.well-known/security.txt` (RFC 9116): whom to tell of a hole.

use poem::Response;
use time::{Duration, OffsetDateTime, Time, format_description::well_known::Rfc3339};

/// Longest time for which a reader may believe the file. Source: RFC 9116, 2.5.5, recommends less than a year.
const VALID: Duration = Duration::days(90);

/// The file as of `now`. Whole days: an answer is the same all day long.
fn text(contact: &str, now: OffsetDateTime) -> Result<String, time::error::Format> {
    let expires = now.saturating_add(VALID).replace_time(Time::MIDNIGHT);
    Ok(format!("Contact: {contact}\nExpires: {}\nPreferred-Languages: en, es\n", expires.format(&Rfc3339)?))
}

/// `contact` is a URI.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing is decided by this date, and no database is asked for a static file"
)]
pub fn answer(contact: &str) -> Response {
    // The only failure is a year that has more than four digits.
    let text = text(contact, OffsetDateTime::now_utc()).unwrap_or_else(|_| format!("Contact: {contact}\n"));
    Response::builder().content_type("text/plain; charset=utf-8").body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_contact_and_ends_within_a_year() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        assert_eq!(
            text("mailto:security@example.com", now).unwrap(),
            "Contact: mailto:security@example.com\nExpires: 2027-04-15T00:00:00Z\nPreferred-Languages: en, es\n"
        );
    }
}
