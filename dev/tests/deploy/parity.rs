//! `docs/DJANGO-PARITY.md`: every line of the guide that operators come from has its answer here.

use std::collections::BTreeSet;

use doorbook_core::config::registry;

use crate::common::{is_test_name, quoted, read, rows, section, test_names};

const DOCUMENT: &str = "docs/DJANGO-PARITY.md";

/// Variables that the guide names.
const VARIABLES: [&str; 35] = [
    "SECRET_KEY",
    "JWT_SECRET_KEY",
    "DEBUG",
    "ALLOWED_HOSTS",
    "DATABASE_URL",
    "POSTGRES_DB",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_HOST",
    "POSTGRES_PORT",
    "EMAIL_BACKEND",
    "EMAIL_HOST",
    "EMAIL_PORT",
    "EMAIL_USE_TLS",
    "EMAIL_HOST_USER",
    "EMAIL_HOST_PASSWORD",
    "DEFAULT_FROM_EMAIL",
    "CORS_ALLOWED_ORIGINS",
    "FRONTEND_URL",
    "JWT_ACCESS_TOKEN_LIFETIME_MINUTES",
    "JWT_REFRESH_TOKEN_LIFETIME_DAYS",
    "PASSWORD_MIN_LENGTH",
    "PASSWORD_RESET_TOKEN_EXPIRY_HOURS",
    "MAX_LOGIN_ATTEMPTS",
    "LOGIN_RATE_WINDOW_MINUTES",
    "LOGIN_BLOCK_DURATION_MINUTES",
    "MAX_REGISTRATION_ATTEMPTS",
    "REGISTRATION_RATE_WINDOW_HOURS",
    "MAX_RESET_ATTEMPTS",
    "RESET_RATE_WINDOW_HOURS",
    "SECURE_SSL_REDIRECT",
    "SECURE_PROXY_SSL_HEADER",
    "SECURE_HSTS_SECONDS",
    "SECURE_BROWSER_XSS_FILTER",
    "X_FRAME_OPTIONS",
];
/// Settings of the guide that are lines of a settings file and no variables of its environment.
const IN_CODE: [&str; 17] = [
    "SESSION_COOKIE_SECURE",
    "CSRF_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY",
    "CSRF_COOKIE_HTTPONLY",
    "SESSION_COOKIE_SAMESITE",
    "CSRF_COOKIE_SAMESITE",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS",
    "SECURE_HSTS_PRELOAD",
    "SECURE_CONTENT_TYPE_NOSNIFF",
    "PASSWORD_HASHERS",
    "AUTH_PASSWORD_VALIDATORS",
    "SIMPLE_JWT",
    "DATABASES",
    "STATIC_URL",
    "CACHES",
    "SESSION_ENGINE",
    "LOGGING",
];
/// Addresses that the guide's commands ask.
const ENDPOINTS: [&str; 9] = [
    "/api/auth/",
    "/api/auth/register/",
    "/api/auth/login/",
    "/api/auth/profile/",
    "/health",
    "/admin/",
    "/static/",
    "/reset-password?token=",
    "http://",
];
/// Lines of its checklist, a box each.
const BOXES: usize = 27;
/// Sections of the document, and the fewest rows of each.
const SECTIONS: [(&str, usize); 6] = [
    // Settings that belong together share a row.
    ("## Settings", 40),
    ("## Endpoints", ENDPOINTS.len()),
    ("## Commands", 15),
    ("## Checklist", BOXES),
    ("## Troubleshooting", 3),
    ("## What has no counterpart", 5),
];

fn table(heading: &str) -> Vec<Vec<String>> {
    rows(section(&read(DOCUMENT), heading).unwrap_or_else(|| panic!("no section {heading}")))
}

#[test]
fn every_line_of_the_guide_has_a_row_that_says_what_answers_it() {
    for (heading, fewest) in SECTIONS {
        let rows = table(heading);
        assert!(rows.len() >= fewest, "{heading}: {} rows of {fewest}", rows.len());
        let mut seen = BTreeSet::new();
        for row in rows {
            assert!(row.iter().all(|cell| !cell.is_empty()), "{heading}: {row:?}");
            assert!(seen.insert(row[0].clone()), "{heading}: twice: {}", row[0]);
        }
    }
    let firsts = |heading| {
        table(heading)
            .iter()
            .flat_map(|row| quoted(&row[0]).into_iter().map(str::to_owned).collect::<Vec<_>>())
            .collect::<BTreeSet<_>>()
    };
    let settings = firsts("## Settings");
    for name in VARIABLES.iter().chain(&IN_CODE) {
        assert!(settings.contains(*name), "{name} has no row");
    }
    let endpoints = firsts("## Endpoints");
    for path in ENDPOINTS {
        assert!(endpoints.iter().any(|endpoint| endpoint.contains(path)), "{path} has no row");
    }
    for name in VARIABLES {
        assert!(registry::ALL.iter().any(|variable| variable.name == name), "{name} is read no more");
    }
}

#[test]
fn every_row_names_its_proof_or_says_why_there_is_none() {
    for (heading, _) in SECTIONS {
        for row in table(heading) {
            let proof = row.last().unwrap();
            let names_a_test = quoted(proof).into_iter().any(is_test_name);
            assert!(names_a_test || proof.starts_with("none: "), "{heading}: {} has neither", row[0]);
        }
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let known = test_names();
    for document in [DOCUMENT, "docs/SECURITY-DESIGN.md", "docs/OPERATIONS.md"] {
        let text = read(document);
        let named: BTreeSet<_> = quoted(&text).into_iter().filter(|word| is_test_name(word)).collect();
        assert!(!named.is_empty(), "{document}");
        let missing: Vec<_> = named.into_iter().filter(|name| !known.contains(*name)).collect();
        assert!(missing.is_empty(), "{document} names tests that do not exist: {missing:#?}");
    }
}
