//! Hashing and verifying through the public interface.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use doorbook_core::password::{
    Engine, HashCost, HashError, Hasher, LENGTH_MAX, PasswordError, PasswordPlain, Verified,
};
use serde::Deserialize;

/// Far below what production accepts, for speed.
const TINY: HashCost = HashCost { memory_kib: 64, time_cost: 1, parallelism: 1 };

const REFUSED: Verified = Verified { matches: false, rehash: false };

fn hasher() -> Hasher {
    Hasher::start(TINY, Engine::Argon2, Hasher::default_permits()).expect("the parameters are within the bounds")
}

fn password(text: &str) -> PasswordPlain {
    PasswordPlain::parse(text.to_owned()).expect("the length is accepted")
}

#[derive(Deserialize)]
struct Vector {
    kind: String,
    password: String,
    encoded: String,
    valid: bool,
}

/// C022. Breaks when `core/src/password/engine.rs`: `.passes(recipe.params.t_cost())` → `.passes(1)`.
#[tokio::test]
async fn hashes_made_by_django_verify_and_are_due_for_a_rehash() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors/password-hashes.json")).unwrap();
    assert_eq!(vectors.len(), 39);
    for engine in [Engine::Argon2, Engine::Simd] {
        let hasher = Hasher::start(TINY, engine, Hasher::default_permits()).unwrap();
        assert_eq!(hasher.engine(), engine);
        for Vector { kind, password: text, encoded, valid } in &vectors {
            let verified = hasher.verify(Some(encoded), &password(text)).await.unwrap();
            assert_eq!(verified, Verified { matches: *valid, rehash: *valid }, "{engine:?}, {kind}: {encoded}");
        }
    }
}

#[tokio::test]
async fn a_new_hash_has_the_documented_form_and_needs_no_rehash() {
    let hasher = Hasher::start(HashCost::default(), Engine::Argon2, std::num::NonZeroUsize::MIN).unwrap();
    let password = password("correct horse battery staple");
    let hash = hasher.hash(&password).await.unwrap();
    let fields: Vec<&str> = hash.as_str().split('$').collect();
    assert_eq!(fields[..4], ["", "argon2id", "v=19", "m=102400,t=2,p=8"]);
    assert_eq!(STANDARD_NO_PAD.decode(fields[4]).unwrap().len(), 16);
    assert_eq!(STANDARD_NO_PAD.decode(fields[5]).unwrap().len(), 32);
    assert_eq!(fields.len(), 6);
    let verified = hasher.verify(Some(hash.as_str()), &password).await.unwrap();
    assert_eq!(verified, Verified { matches: true, rehash: false });
}

#[tokio::test]
async fn each_hash_has_its_own_salt() {
    let hasher = hasher();
    let mut salts = std::collections::HashSet::new();
    for _ in 0..1_000 {
        let hash = hasher.hash(&password("the same each time")).await.unwrap();
        assert!(salts.insert(hash.as_str().split('$').nth(4).unwrap().to_owned()));
    }
}

#[tokio::test]
async fn a_hash_of_other_parameters_matches_and_is_due_for_a_rehash() {
    let stronger = Hasher::start(HashCost { time_cost: 2, ..TINY }, Engine::Argon2, Hasher::default_permits()).unwrap();
    let stored = stronger.hash(&password("moved house")).await.unwrap();
    let hasher = hasher();
    let verified = hasher.verify(Some(stored.as_str()), &password("moved house")).await.unwrap();
    assert_eq!(verified, Verified { matches: true, rehash: true });
    assert_eq!(hasher.verify(Some(stored.as_str()), &password("moved horse")).await.unwrap(), REFUSED);
}

#[tokio::test]
async fn without_a_stored_hash_nothing_matches() {
    let hasher = hasher();
    assert_eq!(hasher.verify(None, &password("anything")).await.unwrap(), REFUSED);
    assert_eq!(hasher.verifications(), 1);
}

/// Pairs of texts that somebody, or some code, could take for the same.
fn pairs_that_differ() -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = [
        ("Secret phrase", "secret phrase"),
        ("secret phrase", " secret phrase"),
        ("secret phrase", "secret phrase "),
        ("secret phrase", "secret  phrase"),
        ("secret phrase", "secret\u{a0}phrase"),
        ("secret phrase", "secret phrase\n"),
        ("secret phrase", "secret phrase\0"),
        ("secret phrase", "secret phrase\0x"),
        ("STRASSE 1999", "STRAßE 1999"),
        // Compatibility forms are not folded: NFC, not NFKC.
        ("password1", "password¹"),
        ("office hours", "o\u{fb03}ce hours"),
        ("ABC abc 123", "ＡＢＣ abc 123"),
        ("emoji 🔐 key", "emoji 🔑 key"),
        ("emoji 👍 key", "emoji 👍🏽 key"),
        ("naïve café", "naive cafe"),
        ("İstanbul1", "istanbul1"),
        ("ΣΊΣΥΦΟΣ", "ΣΊΣΥΦΟς"),
        ("zero\u{200d}width", "zerowidth"),
        ("lineone", "line\u{ad}one"),
        ("кириллица", "kириллица"),
    ]
    .map(|(one, other)| (one.to_owned(), other.to_owned()))
    .into();
    for length in (25..=1_000).step_by(25) {
        let same = "x".repeat(length - 1);
        pairs.push((format!("{same}1"), format!("{same}2")));
    }
    assert!(pairs.len() >= 60);
    pairs
}

#[tokio::test]
async fn different_passwords_do_not_match_each_other() {
    let hasher = hasher();
    for (one, other) in pairs_that_differ() {
        for (one, other) in [(&one, &other), (&other, &one)] {
            let stored = hasher.hash(&password(one)).await.unwrap();
            assert!(hasher.verify(Some(stored.as_str()), &password(one)).await.unwrap().matches, "{one:?}");
            assert_eq!(hasher.verify(Some(stored.as_str()), &password(other)).await.unwrap(), REFUSED, "{other:?}");
        }
    }
}

/// The same texts, composed and decomposed.
const FORMS: [(&str, &str); 4] = [
    ("na\u{ef}ve caf\u{e9}", "nai\u{308}ve cafe\u{301}"),
    ("\u{1e69} dots", "s\u{307}\u{323} dots"),
    ("\u{d55c}\u{ae00} password", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af} password"),
    ("\u{e5}ngstr\u{f6}m", "\u{212b}ngstro\u{308}m"),
];

#[tokio::test]
async fn composed_and_decomposed_forms_are_the_same_password() {
    let hasher = hasher();
    // The Ångström sign composes to a capital letter.
    for (composed, decomposed) in FORMS.into_iter().take(3) {
        for (one, other) in [(composed, decomposed), (decomposed, composed)] {
            let stored = hasher.hash(&password(one)).await.unwrap();
            let verified = hasher.verify(Some(stored.as_str()), &password(other)).await.unwrap();
            assert_eq!(verified, Verified { matches: true, rehash: false });
        }
        assert!(password(composed).is_repeated_by(&password(decomposed)));
    }
    assert!(!password(FORMS[3].0).is_repeated_by(&password(FORMS[3].1)));
}

fn django_pbkdf2(text: &str) -> String {
    let iterations = NonZeroU32::new(1_000).expect("not zero");
    let mut output = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, b"saltsalt", text.as_bytes(), &mut output);
    format!("pbkdf2_sha256$1000$saltsalt${}", STANDARD.encode(output))
}

#[tokio::test]
async fn an_imported_hash_of_the_received_form_matches() {
    let hasher = hasher();
    for (composed, decomposed) in FORMS.into_iter().take(3) {
        let due = Verified { matches: true, rehash: true };
        let of_decomposed = django_pbkdf2(decomposed);
        assert_eq!(hasher.verify(Some(&of_decomposed), &password(decomposed)).await.unwrap(), due);
        let of_composed = django_pbkdf2(composed);
        for text in [composed, decomposed] {
            assert_eq!(hasher.verify(Some(&of_composed), &password(text)).await.unwrap(), due);
        }
    }
}

#[test]
fn lengths_are_counted_in_code_points() {
    for text in ["a", "é", "🔐", "\u{212b}"] {
        assert!(PasswordPlain::parse(text.repeat(LENGTH_MAX)).is_ok());
        assert_eq!(PasswordPlain::parse(text.repeat(LENGTH_MAX + 1)).err(), Some(PasswordError::TooLong));
    }
    assert_eq!(PasswordPlain::parse(String::new()).err(), Some(PasswordError::Empty));
    assert_eq!(PasswordPlain::parse("x".repeat(10_000_000)).err(), Some(PasswordError::TooLong));
}

#[tokio::test]
async fn the_longest_passwords_are_hashed_whole() {
    let hasher = hasher();
    for length in [8, 64, 128, LENGTH_MAX] {
        let stored = hasher.hash(&password(&"🔐".repeat(length))).await.unwrap();
        assert!(hasher.verify(Some(stored.as_str()), &password(&"🔐".repeat(length))).await.unwrap().matches);
        let shorter = "🔐".repeat(length - 1);
        assert_eq!(hasher.verify(Some(stored.as_str()), &password(&shorter)).await.unwrap(), REFUSED);
    }
}

#[tokio::test]
async fn more_than_can_be_served_is_refused_and_the_rest_is_answered() {
    let slow = HashCost { memory_kib: 65_536, time_cost: 4, parallelism: 1 };
    let hasher = Hasher::start(slow, Engine::Argon2, std::num::NonZeroUsize::MIN).unwrap();
    let calls = (0..200).map(|_| {
        let hasher = hasher.clone();
        tokio::spawn(async move { hasher.verify(None, &password("a flood")).await })
    });
    let (mut served, mut refused) = (0, 0);
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(verified) => {
                assert_eq!(verified, REFUSED);
                served += 1;
            }
            Err(HashError::Overloaded { retry_after }) => {
                assert!(!retry_after.is_zero());
                refused += 1;
            }
            Err(HashError::Failed) => panic!("a hash failed"),
        }
    }
    assert_eq!((served, refused), (hasher.verifications(), hasher.rejected()));
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
}

#[test]
fn parameters_that_argon2_refuses_stop_the_start() {
    for cost in
        [HashCost { memory_kib: 7, ..TINY }, HashCost { time_cost: 0, ..TINY }, HashCost { parallelism: 0, ..TINY }]
    {
        assert!(Hasher::start(cost, Engine::Argon2, std::num::NonZeroUsize::MIN).is_err());
    }
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let password = password("hunter2 and more");
    assert_eq!(format!("{password:?}"), "PasswordPlain(…)");
    assert_eq!(format!("{:?}", hasher().hash(&password).await.unwrap()), "PhcString(…)");
}
