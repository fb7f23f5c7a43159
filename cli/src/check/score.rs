//! The grade that header scanners would give, worked out here: nothing is told to anyone.
//!
//! By the published scoring of Mozilla's HTTP Observatory (its documentation, "Tests & Scoring"): 100 points, less the
//! penalties below, plus the bonuses if 90 points are left without them. And by the list of securityheaders.com: six
//! headers, of which each that is missing costs a grade. Neither can be asked offline whether a domain is on the preload
//! list, so no points are given for that; subresources and cookies do not occur in an answer of an api, and count as
//! Observatory counts what is absent.

use doorbook_core::config::check::Line;
use reqwest::header::HeaderMap;

const OBSERVATORY: &str = "observatory score";
const SECURITY_HEADERS: &str = "securityheaders grade";

const BASE: i32 = 100;
/// Bonuses count from here on.
const BONUS_FROM: i32 = 90;
/// Least `max-age`, in seconds: six months.
const HSTS_SECONDS_MIN: u64 = 15_768_000;

/// Least points of each grade.
const GRADES: [(i32, &str); 13] = [
    (100, "A+"),
    (90, "A"),
    (85, "A-"),
    (80, "B+"),
    (70, "B"),
    (65, "B-"),
    (60, "C+"),
    (50, "C"),
    (45, "C-"),
    (40, "D+"),
    (30, "D"),
    (25, "D-"),
    (i32::MIN, "F"),
];

/// The six of securityheaders.com.
const SIX: [&str; 6] = [
    "strict-transport-security",
    "content-security-policy",
    "x-frame-options",
    "x-content-type-options",
    "referrer-policy",
    "permissions-policy",
];

/// What an https answer says of itself, and whether plain http leads to it.
pub fn lines(headers: &HeaderMap, redirects: bool) -> [Line; 2] {
    [observatory(headers, redirects), security_headers(headers)]
}

fn value(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", ").to_ascii_lowercase())
}

fn observatory(headers: &HeaderMap, redirects: bool) -> Line {
    let rules = [
        ("Content-Security-Policy", policy(headers)),
        ("Strict-Transport-Security", hsts(headers)),
        (
            "X-Content-Type-Options",
            if value(headers, "x-content-type-options").is_some_and(|it| it == "nosniff") { 0 } else { -5 },
        ),
        ("X-Frame-Options", framing(headers)),
        ("Referrer-Policy", referrer(headers)),
        ("Cross-Origin-Resource-Policy", resource_policy(headers)),
        (
            "Access-Control-Allow-Origin",
            if value(headers, "access-control-allow-origin").is_some_and(|it| it == "*") { -50 } else { 0 },
        ),
        ("redirect to https", if redirects { 0 } else { -20 }),
    ];
    let penalties: i32 = rules.iter().map(|(_, points)| (*points).min(0)).sum();
    let bonuses: i32 = rules.iter().map(|(_, points)| (*points).max(0)).sum();
    let score = BASE + penalties + if BASE + penalties >= BONUS_FROM { bonuses } else { 0 };
    let grade = GRADES.iter().find(|(least, _)| score >= *least).map_or("F", |(_, grade)| grade);
    let lost: Vec<&str> = rules.iter().filter(|(_, points)| *points < 0).map(|(rule, _)| *rule).collect();
    let note = format!("{grade} ({score} points)");
    match grade {
        "A+" => Line::ok(OBSERVATORY, note),
        "A" | "A-" => Line::warn(OBSERVATORY, format!("{note}: better {}", lost.join(", "))),
        _ => Line::fail(OBSERVATORY, format!("{note}: mend {}", lost.join(", "))),
    }
}

/// Absent -25, scripts from anywhere or inline -20, otherwise +5, and +10 where `default-src 'none'` forbids all first.
fn policy(headers: &HeaderMap) -> i32 {
    let Some(policy) = value(headers, "content-security-policy") else { return -25 };
    let directive = |name: &str| {
        policy.split(';').map(str::trim).find_map(|directive| directive.strip_prefix(name)?.strip_prefix(' '))
    };
    let scripts = directive("script-src").or_else(|| directive("default-src"));
    let is_unsafe = scripts.is_none_or(|sources| {
        sources
            .split_whitespace()
            .any(|source| matches!(source, "'unsafe-inline'" | "'unsafe-eval'" | "*" | "https:" | "http:" | "data:"))
    });
    match (is_unsafe, directive("default-src").map(str::trim)) {
        (true, _) => -20,
        (false, Some("'none'")) => 10,
        (false, _) => 5,
    }
}

/// Absent -20, under six months -10.
fn hsts(headers: &HeaderMap) -> i32 {
    let Some(text) = value(headers, "strict-transport-security") else { return -20 };
    let seconds =
        text.split(';').find_map(|part| part.trim().strip_prefix("max-age=")?.trim_matches('"').parse::<u64>().ok());
    match seconds {
        Some(seconds) if seconds >= HSTS_SECONDS_MIN => 0,
        Some(_) => -10,
        None => -20,
    }
}

/// By the policy's `frame-ancestors` +5, by the older header 0, by neither -20.
fn framing(headers: &HeaderMap) -> i32 {
    let by_policy = value(headers, "content-security-policy").is_some_and(|policy| policy.contains("frame-ancestors"));
    let by_header = value(headers, "x-frame-options").is_some_and(|it| it == "deny" || it == "sameorigin");
    match (by_policy, by_header) {
        (true, _) => 5,
        (false, true) => 0,
        (false, false) => -20,
    }
}

/// One that keeps paths from others +5, absent 0, one that tells them -5.
fn referrer(headers: &HeaderMap) -> i32 {
    match value(headers, "referrer-policy").as_deref() {
        None => 0,
        Some("no-referrer" | "same-origin" | "strict-origin" | "strict-origin-when-cross-origin") => 5,
        Some(_) => -5,
    }
}

/// `same-origin` or `same-site` +10.
fn resource_policy(headers: &HeaderMap) -> i32 {
    match value(headers, "cross-origin-resource-policy").as_deref() {
        Some("same-origin" | "same-site") => 10,
        _ => 0,
    }
}

fn security_headers(headers: &HeaderMap) -> Line {
    let missing: Vec<&str> = SIX.into_iter().filter(|name| value(headers, name).is_none()).collect();
    let grade = ["A+", "A", "B", "C", "D", "E", "F"][missing.len()];
    match missing.len() {
        0 => Line::ok(SECURITY_HEADERS, grade),
        1 => Line::ok(SECURITY_HEADERS, format!("{grade}, without {}", missing.join(", "))),
        2 => Line::warn(SECURITY_HEADERS, format!("{grade}: add {}", missing.join(", "))),
        _ => Line::fail(SECURITY_HEADERS, format!("{grade}: add {}", missing.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use doorbook_core::config::check::Verdict;

    use super::*;

    /// What the service sends.
    const SENT: [(&str, &str); 6] = [
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ];

    fn scored(headers: &[(&'static str, &'static str)], redirects: bool) -> Line {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        observatory(&headers, redirects)
    }

    fn without(name: &str) -> Vec<(&'static str, &'static str)> {
        SENT.into_iter().filter(|(other, _)| *other != name).collect()
    }

    fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        without(name).into_iter().chain([(name, value)]).collect()
    }

    #[test]
    fn the_services_own_headers_get_the_best_grade() {
        let line = scored(&SENT, true);
        assert_eq!((line.verdict, line.note.as_str()), (Verdict::Ok, "A+ (130 points)"));
    }

    #[test]
    fn each_fault_costs_what_is_published() {
        for (headers, redirects, note) in [
            (SENT.to_vec(), false, "B+ (80 points): mend redirect to https"),
            (without("content-security-policy"), true, "B (75 points): mend Content-Security-Policy"),
            (
                with("content-security-policy", "default-src 'self' 'unsafe-inline'"),
                true,
                "B+ (80 points): mend Content-Security-Policy",
            ),
            (without("strict-transport-security"), true, "B+ (80 points): mend Strict-Transport-Security"),
            (with("access-control-allow-origin", "*"), true, "C (50 points): mend Access-Control-Allow-Origin"),
        ] {
            let line = scored(&headers, redirects);
            assert_eq!((line.verdict, line.note.as_str()), (Verdict::Fail, note));
        }
        let bare = scored(&[], false);
        assert!(bare.verdict == Verdict::Fail && bare.note.starts_with("F (10 points)"), "{}", bare.note);
        assert_eq!(scored(&with("strict-transport-security", "max-age=3600"), true).note, "A+ (120 points)");
        assert_eq!(scored(&without("x-content-type-options"), true).note, "A+ (125 points)");
        assert_eq!(
            scored(
                &[
                    ("x-content-type-options", "nosniff"),
                    SENT[0],
                    ("x-frame-options", "DENY"),
                    ("content-security-policy", "script-src 'self'"),
                    ("referrer-policy", "unsafe-url")
                ],
                true
            )
            .note,
            "A+ (100 points)"
        );
    }

    #[test]
    fn each_missing_header_of_the_six_costs_a_grade() {
        let graded = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let line = security_headers(&headers);
            (line.verdict, line.note)
        };
        assert_eq!(graded(&SENT), (Verdict::Ok, "A, without permissions-policy".to_owned()));
        assert_eq!(graded(&with("permissions-policy", "camera=()")), (Verdict::Ok, "A+".to_owned()));
        assert_eq!(graded(&without("referrer-policy")).0, Verdict::Warn);
        assert_eq!(graded(&[]).1.split(':').next(), Some("F"));
    }
}
