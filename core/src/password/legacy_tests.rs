use super::*;
use crate::password::Engine;

const OUTPUT_64: &str = "uwA0t9H8F8VZVtJz/5p2ayUmwyF95NiJ8WxhTMA5XoPYrGzw5oGvQeCXOXC7p3f22Iro/pWKE9S76nC+rRdniw==";
const OUTPUT_32: &str = "1i/QAnmKeq8BCnbt57uxcQnk+8gLq3UakjiZ3TrXsAg=";
const BCRYPT: &str = "QieGiOnxc6BB2tB51APw0O6b7rbN1oWFRuVflrR64x0yixWVNcrWG";
const ARGON2: &str = "RE5DdEV2VENMUExFS01ienJmdkV5eg$w0s7cWUg2RyoVc51mxrtibs7QWRQE/hUD2IujsSoL/U";

fn reading(stored: &str) -> Result<(), Unreadable> {
    StoredHash::parse(stored).map(drop)
}

fn matches(stored: &str, password: &str) -> bool {
    let recipe = HashCost { memory_kib: 64, time_cost: 1, parallelism: 1 }.recipe().unwrap();
    StoredHash::parse(stored).unwrap().verify(password, &mut Memory::new(Engine::Argon2, &recipe)).unwrap()
}

#[test]
fn each_cost_is_read_up_to_its_cap_and_refused_beyond() {
    let argon2 = |m: u32, t: u32, p: u32| format!("argon2$argon2id$v=19$m={m},t={t},p={p}${ARGON2}");
    let phc = |m: u32, t: u32, p: u32| format!("$argon2id$v=19$m={m},t={t},p={p}${ARGON2}");
    let pbkdf2 = |iterations: u64| format!("pbkdf2_sha256${iterations}$salt${OUTPUT_32}");
    let bcrypt = |cost: u32| format!("bcrypt$$2b${cost:02}${BCRYPT}");
    let scrypt = |n: u64, r: u32, p: u32| format!("scrypt${n}$salt${r}${p}${OUTPUT_64}");

    for at_the_cap in [
        argon2(1_048_576, 16, 64),
        phc(1_048_576, 16, 64),
        pbkdf2(10_000_000),
        bcrypt(16),
        scrypt(1 << 17, 8, 1),
        scrypt(16_384, 8, 16),
    ] {
        assert_eq!(reading(&at_the_cap), Ok(()), "{at_the_cap}");
    }
    for beyond in [
        argon2(1_048_577, 2, 8),
        argon2(102_400, 17, 8),
        argon2(102_400, 2, 65),
        phc(u32::MAX, 1, 1),
        phc(102_400, u32::MAX, 1),
        pbkdf2(10_000_001),
        bcrypt(17),
        bcrypt(31),
        scrypt(1 << 18, 8, 1),
        scrypt(1 << 63, 1, 1),
        scrypt(16_384, u32::MAX, 1),
        scrypt(16_384, 8, 17),
        scrypt(2, 1, u32::MAX),
    ] {
        assert_eq!(reading(&beyond), Err(Unreadable::TooCostly), "{beyond}");
    }
}

#[test]
fn malformed_hashes_are_told_from_unusable_ones() {
    for unusable in ["!", "!9awBtK2SfMOXs0bqphQ2yzlOfSvZ6aOxa9fUMbJZ"] {
        assert_eq!(reading(unusable), Err(Unreadable::Unusable));
    }
    for unknown in [
        "",
        "plain",
        "md5$salt$hash",
        "PBKDF2_SHA256$1$s$h",
        "$argon2d$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(reading(unknown), Err(Unreadable::UnknownFormat), "{unknown:?}");
    }
    for malformed in [
        "$".to_owned(),
        "$argon2id$".to_owned(),
        format!("$argon2id$v=18$m=64,t=1,p=1${ARGON2}"),
        format!("$argon2id$v=19$m=7,t=1,p=1${ARGON2}"),
        format!("$argon2id$v=19$m=64,t=0,p=1${ARGON2}"),
        format!("$argon2id$v=19$m=64,t=1,p=0${ARGON2}"),
        format!("$argon2id$v=19$m=64,t=1,p=4294967295${ARGON2}"),
        format!("$argon2id$v=19$m=99999999999,t=1,p=1${ARGON2}"),
        "argon2$argon2id$v=19$m=102400,t=2".to_owned(),
        "pbkdf2_sha256$".to_owned(),
        format!("pbkdf2_sha256$0$salt${OUTPUT_32}"),
        format!("pbkdf2_sha256$-1$salt${OUTPUT_32}"),
        format!("pbkdf2_sha256$99999999999$salt${OUTPUT_32}"),
        format!("pbkdf2_sha256$1000$salt${OUTPUT_32}$more"),
        "pbkdf2_sha256$1000$salt$".to_owned(),
        format!("pbkdf2_sha1$1000$salt${OUTPUT_32}"),
        "bcrypt_sha256$$2b$12$short".to_owned(),
        format!("bcrypt$$2b$03${BCRYPT}"),
        format!("bcrypt$$2x$04${BCRYPT}"),
        format!("bcrypt$$2b$0é${BCRYPT}"),
        format!("scrypt$16384$salt$8${OUTPUT_64}"),
        format!("scrypt$16383$salt$8$5${OUTPUT_64}"),
        format!("scrypt$1$salt$8$5${OUTPUT_64}"),
        format!("scrypt$16384$salt$0$5${OUTPUT_64}"),
        format!("scrypt$16384$salt$8$0${OUTPUT_64}"),
        format!("scrypt$16384$salt$8$5${OUTPUT_32}"),
    ] {
        assert_eq!(reading(&malformed), Err(Unreadable::Malformed), "{malformed}");
    }
}

#[test]
fn a_hash_cut_off_or_changed_anywhere_is_read_without_a_panic_and_never_matches_more() {
    let whole = [
        format!("argon2$argon2id$v=19$m=64,t=1,p=1${ARGON2}"),
        format!("pbkdf2_sha256$1000$salt${OUTPUT_32}"),
        format!("bcrypt$$2b$04${BCRYPT}"),
        format!("scrypt$16$salt$8$1${OUTPUT_64}"),
    ];
    for whole in &whole {
        assert_eq!(reading(whole), Ok(()));
        for at in 0..whole.len() {
            let cut = &whole[..at];
            // Argon2 outputs have no fixed length; a shorter one is another hash.
            assert!(cut.starts_with("argon2") || reading(cut).is_err(), "{cut}");
            for other in ["$", "é", "\0", "=", "-", "99999999999999999999"] {
                let changed = format!("{cut}{other}{}", &whole[at + 1..]);
                if let Ok(hash) = StoredHash::parse(&changed) {
                    assert!(!hash.is_made_with(HashCost::default()), "{changed}");
                }
            }
        }
    }
}

#[test]
fn argon2i_of_older_django_matches() {
    // Made with argon2-cffi 25.
    let stored = "argon2$argon2i$v=19$m=512,t=2,p=2$c29tZXNhbHQxMjM0NTY3OA$ja5LXqfca70LGIuxXnAXQA";
    assert!(matches(stored, "password"));
    assert!(!matches(stored, "passwore"));
}

#[test]
fn a_nul_does_not_make_a_repeated_password_match_in_bcrypt() {
    let stored = format!("bcrypt${}", bcrypt::hash("a", BCRYPT_COST_MIN).unwrap());
    assert!(matches(&stored, "a"));
    for other in ["a\0a", "a\0", "\0", "a\0a\0a"] {
        assert!(!matches(&stored, other), "{other:?}");
    }
}

#[test]
fn bcrypt_sha256_tells_passwords_apart_beyond_72_bytes() {
    let (one, other) = (format!("{}1", "a".repeat(80)), format!("{}2", "a".repeat(80)));
    let digest = hex(digest::digest(&digest::SHA256, one.as_bytes()).as_ref());
    let stored = format!("bcrypt_sha256${}", bcrypt::hash(digest, BCRYPT_COST_MIN).unwrap());
    assert!(matches(&stored, &one));
    assert!(!matches(&stored, &other));
}

#[test]
fn only_argon2id_with_the_live_parameters_needs_no_rehash_whoever_wrote_it() {
    let cost = HashCost::default();
    let live = cost.phc(&[1; 16], &[2; 32]);
    // Django's salts have 22 characters.
    for kept in [live.clone(), format!("argon2{live}"), format!("argon2{}", cost.phc(&[1; 22], &[2; 32]))] {
        assert!(StoredHash::parse(&kept).unwrap().is_made_with(cost), "{kept}");
    }
    for other in [
        live.replace("argon2id", "argon2i"),
        live.replace("v=19", "v=16"),
        live.replace("m=102400", "m=102401"),
        live.replace("t=2", "t=3"),
        live.replace("p=8", "p=4"),
        live.replace("p=8", "p=8,data=AAAA"),
        cost.phc(&[1; 15], &[2; 32]),
        cost.phc(&[1; 16], &[2; 31]),
    ] {
        assert!(!StoredHash::parse(&other).unwrap().is_made_with(cost), "{other}");
    }
}
