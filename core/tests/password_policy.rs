//! The rules for new passwords, compared with what Django decides.

use std::io::Read;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use doorbook_core::password::{
    BreachedList, ContextWords, PasswordPlain, PasswordPolicy, PersonAttributes, Validator, Violation,
};
use flate2::read::GzDecoder;
use serde::Deserialize;

const NOBODY: PersonAttributes<'_> = PersonAttributes { email: "", first_name: "", last_name: "" };

const ANA: PersonAttributes<'_> =
    PersonAttributes { email: "ana.kowalski+door@gmail.com", first_name: "Ana", last_name: "Müller-Kowalski" };

fn policy(min_length: usize, validators: impl Into<Vec<Validator>>) -> PasswordPolicy {
    PasswordPolicy { min_length, validators: validators.into() }
}

fn djangos() -> [Validator; 4] {
    [Validator::Similarity, Validator::Length, Validator::Common, Validator::Numeric]
}

fn codes(policy: &PasswordPolicy, text: &str, person: &PersonAttributes<'_>) -> Vec<&'static str> {
    let password = PasswordPlain::parse(text.to_owned()).expect("the length is accepted");
    let violations: Vec<Violation> = policy.check(&password, person).err().unwrap_or_default();
    violations.into_iter().map(|violation| violation.code).collect()
}

#[derive(Deserialize)]
struct Verdict {
    password: String,
    email: String,
    first_name: String,
    last_name: String,
    min_length: usize,
    codes: Vec<String>,
}

#[test]
fn verdicts_and_their_order_are_djangos() {
    let verdicts: Vec<Verdict> = serde_json::from_str(include_str!("vectors/password-verdicts.json")).unwrap();
    assert_eq!(verdicts.len(), 400);
    for Verdict { password, email, first_name, last_name, min_length, codes: expected } in verdicts {
        let person = PersonAttributes { email: &email, first_name: &first_name, last_name: &last_name };
        assert_eq!(codes(&policy(min_length, djangos()), &password, &person), expected, "{password:?} of {email}");
    }
}

#[test]
fn every_entry_of_the_common_list_is_refused_in_any_case() {
    let mut list = String::new();
    GzDecoder::new(&include_bytes!("../data/common-passwords.txt.gz")[..]).read_to_string(&mut list).unwrap();
    let policy = policy(1, [Validator::Common]);
    let mut entries = 0;
    for entry in list.lines() {
        assert_eq!(codes(&policy, entry, &NOBODY), ["password_too_common"], "{entry:?}");
        assert_eq!(
            codes(&policy, &format!(" {} ", entry.to_uppercase()), &NOBODY),
            ["password_too_common"],
            "{entry:?}"
        );
        entries += 1;
    }
    assert_eq!(entries, 19_640);
}

#[test]
fn random_passwords_of_sixteen_characters_are_accepted() {
    let mut validators = Vec::from(djangos());
    validators.push(Validator::Context(ContextWords::new("Doorbook", "accounts.example.org")));
    let policy = policy(15, validators);
    for number in 0..500_u32 {
        let noise = digest::digest(&digest::SHA256, &number.to_be_bytes());
        let text = &STANDARD_NO_PAD.encode(noise)[..16];
        assert_eq!(codes(&policy, text, &ANA), [""; 0], "{text}");
    }
}

#[test]
fn the_length_is_that_of_the_normalised_password_in_code_points() {
    let policy = policy(8, [Validator::Length]);
    let short = ["password_too_short"];
    assert_eq!(codes(&policy, &"🔐".repeat(7), &NOBODY), short);
    assert_eq!(codes(&policy, &"🔐".repeat(8), &NOBODY), [""; 0]);
    assert_eq!(codes(&policy, &"e\u{301}".repeat(7), &NOBODY), short);
    assert_eq!(codes(&policy, &"e\u{301}".repeat(8), &NOBODY), [""; 0]);
}

/// Breaks when `core/src/password/policy.rs`: `self.validators.iter().chain((!has_length).then_some(&Validator::Length))` → `self.validators.iter().chain(has_length.then_some(&Validator::Length))`.
#[test]
fn the_least_length_holds_whatever_else_is_asked_for() {
    let policy = policy(15, [Validator::Common]);
    assert_eq!(codes(&policy, "zq", &NOBODY), ["password_too_short"]);
    assert_eq!(codes(&policy, "qwerty", &NOBODY), ["password_too_common", "password_too_short"]);
    assert_eq!(codes(&policy, "amber harbour 12", &NOBODY), [""; 0]);
}

#[test]
fn digits_of_every_script_are_digits() {
    let policy = policy(8, [Validator::Numeric]);
    for digits in ["0123456789", "٠١٢٣٤٥٦٧", "०१२३४५६७", "１２３４５６７８", "²³²³²³²³"]
    {
        assert_eq!(codes(&policy, digits, &NOBODY), ["password_entirely_numeric"], "{digits}");
    }
    for other in ["1234567 8", "12345678a", "-12345678"] {
        assert_eq!(codes(&policy, other, &NOBODY), [""; 0], "{other}");
    }
}

#[test]
fn decomposed_text_is_compared_as_its_composed_form() {
    let policy = policy(8, [Validator::Similarity]);
    assert_eq!(codes(&policy, "mu\u{308}ller12", &ANA), ["password_too_similar"]);
    let decomposed = PersonAttributes { last_name: "Mu\u{308}ller", ..NOBODY };
    assert_eq!(codes(&policy, "m\u{fc}ller12", &decomposed), ["password_too_similar"]);
}

#[test]
fn words_of_the_service_and_of_the_owner_are_refused() {
    let policy = policy(8, [Validator::Context(ContextWords::new("Doorbook Audio", "login.betancourt.shop"))]);
    for guessable in [
        "mydoorbook!7",
        "DOORBOOK-2026",
        "x9audio9x",
        "Betancourt#1",
        "login-login-login",
        "xKowalskix",
        "MÜLLER-kennwort",
    ] {
        assert_eq!(codes(&policy, guessable, &ANA), ["password_context"], "{guessable}");
    }
    // Short words, the top-level domain and the owner's mail service say nothing about either.
    for fine in ["banana split", "photoshop queen", "gmail-less tulip", "dorbook tulip"] {
        assert_eq!(codes(&policy, fine, &ANA), [""; 0], "{fine}");
    }
}

#[test]
fn passwords_on_the_operators_list_are_refused() {
    let list = BreachedList::read(&b"5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:3\ncaf\xc3\xa9 noir\n"[..]).unwrap();
    let policy = policy(8, [Validator::Breached(Arc::new(list))]);
    for breached in ["password", "café noir", "cafe\u{301} noir"] {
        assert_eq!(codes(&policy, breached, &NOBODY), ["password_breached"], "{breached}");
    }
    assert_eq!(codes(&policy, "Password", &NOBODY), [""; 0]);
}

#[test]
fn every_violation_has_its_own_code_and_a_message() {
    let breached = BreachedList::read(&b"1234"[..]).unwrap();
    let mut validators = Vec::from(djangos());
    validators.push(Validator::Context(ContextWords::new("1234", "localhost")));
    validators.push(Validator::Breached(Arc::new(breached)));
    let password = PasswordPlain::parse("1234".to_owned()).unwrap();
    let person = PersonAttributes { email: "1234@example.org", ..NOBODY };
    let violations = policy(8, validators).check(&password, &person).unwrap_err();
    let codes: Vec<_> = violations.iter().map(|violation| violation.code).collect();
    assert_eq!(
        codes,
        [
            "password_too_similar",
            "password_too_short",
            "password_too_common",
            "password_entirely_numeric",
            "password_context",
            "password_breached"
        ]
    );
    assert!(violations.iter().all(|violation| violation.message.ends_with('.')));
    assert_eq!(violations[1].message, "The password needs at least 8 characters.");
}
