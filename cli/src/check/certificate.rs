//! The dates of a server's certificate, read from its DER (RFC 5280, 4.1). That it is valid for the host, and signed by
//! an authority that is trusted, the TLS client has checked before.

use doorbook_core::config::check::Line;
use time::{Date, Duration, Month, OffsetDateTime, Time};

const CHECK: &str = "certificate";

/// Renewal that has not happened by then is late. Source: Let's Encrypt renews 30 days before the end.
const LATE: Duration = Duration::days(21);
/// Time to act by hand.
const URGENT: Duration = Duration::days(7);

/// Tags. Source: X.690, 8.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

pub fn line(der: Option<&[u8]>, now: OffsetDateTime) -> Line {
    match der.and_then(end) {
        Some(end) => judge(end - now),
        None => Line::fail(CHECK, "its dates cannot be read: look at it with openssl x509 -noout -dates"),
    }
}

fn judge(left: Duration) -> Line {
    let note = format!("ends in {} days", left.whole_days());
    if left < URGENT {
        Line::fail(CHECK, format!("{note}: renew it now"))
    } else if left < LATE {
        Line::warn(CHECK, format!("{note}: look why it was not renewed"))
    } else {
        Line::ok(CHECK, note)
    }
}

/// `notAfter`.
fn end(der: &[u8]) -> Option<OffsetDateTime> {
    let (_, certificate, _) = element(der).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut body, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if let Some((VERSION, _, rest)) = element(body) {
        body = rest;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        body = element(body)?.2;
    }
    let (_, validity, _) = element(body).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (tag, text, _) = element(element(validity)?.2)?;
    moment(tag, std::str::from_utf8(text).ok()?)
}

/// Tag, content and what follows; only the definite lengths of DER.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`. Source: RFC 5280, 4.1.2.5.
fn moment(tag: u8, text: &str) -> Option<OffsetDateTime> {
    let digits = text.strip_suffix('Z').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<u16>().ok();
    let small = |start: usize| u8::try_from(number(start..start + 2)?).ok();
    let (year, at) = match tag {
        UTC_TIME => {
            let year = number(0..2)?;
            (if year < 50 { 2_000 + year } else { 1_900 + year }, 2)
        }
        GENERALIZED_TIME => (number(0..4)?, 4),
        _ => return None,
    };
    let month = Month::try_from(small(at)?).ok()?;
    let date = Date::from_calendar_date(year.into(), month, small(at + 2)?).ok()?;
    let time = Time::from_hms(small(at + 4)?, small(at + 6)?, small(at + 8)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

#[cfg(test)]
mod tests {
    use doorbook_core::config::check::Verdict;

    use super::*;

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut bytes = vec![tag];
        match u8::try_from(length) {
            Ok(short) if short < 0x80 => bytes.push(short),
            _ => bytes.extend([0x82, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 0xff).unwrap()]),
        }
        bytes.extend(content);
        bytes
    }

    fn certificate(tag: u8, end: &str) -> Vec<u8> {
        let validity = [wrap(UTC_TIME, b"250101000000Z"), wrap(tag, end.as_bytes())].concat();
        let body = [
            wrap(VERSION, &[2, 1, 2]),
            wrap(2, &[7]),
            wrap(SEQUENCE, &[0; 10]),
            wrap(SEQUENCE, &[0; 200]),
            wrap(SEQUENCE, &validity),
        ];
        wrap(SEQUENCE, &wrap(SEQUENCE, &body.concat()))
    }

    #[test]
    fn the_end_is_read_from_either_form_of_time() {
        let at = |text: &str| OffsetDateTime::from_unix_timestamp(text.parse().unwrap()).unwrap();
        assert_eq!(end(&certificate(UTC_TIME, "270115080000Z")), Some(at("1800000000")));
        assert_eq!(end(&certificate(GENERALIZED_TIME, "20270115080000Z")), Some(at("1800000000")));
    }

    #[test]
    fn no_damaged_certificate_stops_the_reader() {
        let whole = certificate(UTC_TIME, "270115080000Z");
        for length in 0..whole.len() {
            assert_eq!(end(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = end(&damaged);
        }
        assert_eq!(end(&certificate(UTC_TIME, "271315080000Z")), None);
    }

    #[test]
    fn an_end_that_comes_near_is_noticed_in_time() {
        let verdict = |days: i64| judge(Duration::days(days)).verdict;
        assert_eq!((verdict(60), verdict(20), verdict(6), verdict(-1)), {
            (Verdict::Ok, Verdict::Warn, Verdict::Fail, Verdict::Fail)
        });
    }
}
