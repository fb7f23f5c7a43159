//! Passwords over HTTP: lengths, exactness, rules, and what is stored of them.

use std::collections::HashSet;
use std::io::Read;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use doorbook_dev::Stand;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::common::*;
use crate::insider::Insider;
use crate::wire::Wire;

const REGISTER: &str = "/api/auth/register/";

async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND.get_or_init(|| stand(&[])).await
}

fn refusal(code: &str) -> (String, String) {
    ("password".to_owned(), code.to_owned())
}

/// No two neighbours alike, and no word in it.
fn of_length(length: usize) -> String {
    "ñ7Ω漢q🔐z2".chars().cycle().take(length).collect()
}

/// C019. Breaks when `core/src/password/mod.rs`: `raw.chars().count() > LENGTH_MAX` → `raw.len() > LENGTH_MAX`.
#[tokio::test]
async fn eight_to_a_thousand_and_twenty_four_code_points_are_a_password() {
    let stand = shared().await;
    for (length, code) in [
        (1, Some("password_too_short")),
        (7, Some("password_too_short")),
        (8, None),
        (64, None),
        (128, None),
        (1_024, None),
        (1_025, Some("invalid")),
        (10_000, Some("invalid")),
    ] {
        let (email, password) = (someone(), of_length(length));
        let answer = try_registering(stand, &email, &password).await;
        match code {
            None => {
                assert_eq!(answer.status, 201, "{length}: {answer:?}");
                assert_eq!(login(stand, &email, &password).await.status, 200, "{length}");
                let shorter: String = password.chars().take(length - 1).collect();
                assert_eq!(login(stand, &email, &shorter).await.status, 401, "{length}");
            }
            Some(code) => assert!(faults(&answer).contains(&refusal(code)), "{answer:?}"),
        }
    }
    let empty = try_registering(stand, &someone(), "").await;
    assert_eq!((empty.status, faults(&empty)[0].0.as_str()), (422, "password"));
    let (_strict, base) = stand.another_api_with(&[("PASSWORD_MIN_LENGTH", "15")]).await.unwrap();
    let strict = client(stand).at(&base);
    for (length, status) in [(14, 422), (15, 201)] {
        let answer = strict.post(REGISTER, registration(&someone(), &of_length(length))).await.unwrap();
        assert_eq!(answer.status, status, "{length}: {answer:?}");
    }
}

/// C019. Breaks when `core/src/password/mod.rs`: `return Err(PasswordError::TooLong);` → `std::thread::sleep(std::time::Duration::from_millis(100)); return Err(PasswordError::TooLong);`.
#[tokio::test]
async fn an_overlong_password_is_refused_before_anything_is_hashed() {
    // A hash of these parameters takes several times as long as a refusal may.
    let stand = stand(&[("ARGON2_MEMORY_KIB", "102400"), ("ARGON2_TIME_COST", "2"), ("ARGON2_CONCURRENCY", "1")]).await;
    let hashed = Instant::now();
    assert_eq!(login(&stand, &someone(), PASSWORD).await.status, 401);
    let hash = hashed.elapsed();
    for (length, status) in [(1_025, 422), (16_000, 422), (60_000, 422), (1 << 20, 413), (10 << 20, 413)] {
        let password = "a".repeat(length);
        for (path, body) in [
            ("/api/auth/login/", credentials("ana@example.com", &password)),
            (REGISTER, registration("ana@example.com", &password[..length.min(30_000)])),
        ] {
            let status = if path == REGISTER { 422 } else { status };
            let body = body.to_string();
            let mut fastest = Duration::MAX;
            for _ in 0..5 {
                // Connected before the clock starts.
                let mut wire = wire(&stand).await;
                let started = Instant::now();
                let headers = [("Content-Type", "application/json")];
                let reply = wire.send("POST", path, &headers, body.as_bytes()).await.unwrap();
                fastest = fastest.min(started.elapsed());
                assert_eq!(reply.status, status, "{length}: {reply:?}");
                assert!(!reply.body.contains("aaaaaaaaaaaa"), "nothing of it comes back");
            }
            assert!(fastest <= Duration::from_millis(20), "{path} {length}: {fastest:?}, a hash takes {hash:?}");
            assert!(fastest * 3 < hash, "{path} {length}: {fastest:?}, a hash takes {hash:?}");
        }
    }
}

/// C020. Breaks when `core/src/password/mod.rs`: `let raw = Zeroizing::new(raw);` → `let raw = Zeroizing::new(raw.trim().to_owned());`.
#[tokio::test]
async fn a_password_is_exactly_what_was_typed_but_for_its_encoding() {
    let stand = shared().await;
    let long = "Zk7~".repeat(50);
    let mut pairs: Vec<(String, String, bool)> = [
        ("violet Harbour 73", "violet harbour 73", false),
        ("violet harbour 73 ", "violet harbour 73", false),
        (" violet harbour 73", "violet harbour 73", false),
        ("violet  harbour 73", "violet harbour 73", false),
        ("violet\u{a0}harbour 73", "violet harbour 73", false),
        ("violet harbour 🔐", "violet harbour 🔑", false),
        ("violet harbour 👩\u{200d}🚀", "violet harbour 👩🚀", false),
        ("violet harbour 73\u{0}", "violet harbour 73", false),
        ("violet harbour ｆｉ", "violet harbour fi", false),
        ("straße am Hafen 9", "strasse am Hafen 9", false),
        ("café am Hafen 9", "cafe\u{301} am Hafen 9", true),
        ("한글 항구 보라 9 ", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af} 항구 보라 9 ", true),
        ("Å harbour violet", "\u{212b} harbour violet", true),
    ]
    .map(|(one, other, same)| (one.to_owned(), other.to_owned(), same))
    .into();
    pairs.push((format!("{long}A"), format!("{long}B"), false));
    // The last one of 201 characters, and any other: each place counts.
    for place in (0..dose(0, 200)).step_by(5) {
        let mut other: Vec<char> = long.chars().collect();
        other[place] = '_';
        pairs.push((long.clone(), other.into_iter().collect(), false));
    }
    for (one, other, same) in &pairs {
        for (stored, typed) in [(one, other), (other, one)] {
            let email = someone();
            registered_as(stand, &email, stored).await;
            let status = if *same { 200 } else { 401 };
            assert_eq!(login(stand, &email, typed).await.status, status, "{stored:?} typed as {typed:?}");
            assert_eq!(login(stand, &email, stored).await.status, 200, "{stored:?}");
        }
    }
}

fn common_passwords() -> Vec<String> {
    let list = include_bytes!("../../../core/data/common-passwords.txt.gz");
    let mut text = String::new();
    GzDecoder::new(&list[..]).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// C021. Breaks when `core/src/password/common.rs`: `LIST.contains(trim(lowercase))` → `LIST.contains(lowercase) && lowercase.len() < 8`.
#[tokio::test]
async fn every_common_password_is_refused_as_such() {
    let stand = shared().await;
    let list = common_passwords();
    assert_eq!(list.len(), 19_640);
    let mut wire = wire(stand).await;
    for (index, password) in list.iter().enumerate().step_by(dose(39, 1)) {
        let typed = if index % 2 == 0 { password.clone() } else { format!(" {}", password.to_uppercase()) };
        let reply = wire.post(REGISTER, &registration("q@example.com", &typed)).await;
        let (kind, fields) = reply.problem();
        assert_eq!((reply.status, kind.as_str()), (422, "validation"), "{typed:?}");
        assert!(fields.contains(&refusal("password_too_common")), "{typed:?}: {fields:?}");
        assert!(fields.iter().all(|(field, _)| field == "password"), "{typed:?}: {fields:?}");
    }
}

/// C021. Breaks when `core/src/password/similarity.rs`: `const RATIO_TENTHS: usize = 7;` → `const RATIO_TENTHS: usize = 9;`.
#[tokio::test]
async fn what_resembles_its_owner_or_is_all_digits_is_refused_with_the_reason() {
    let stand = shared().await;
    let person = |password: &str| {
        let mut body = registration("margarita.benitez@hospital.example", password);
        body["first_name"] = json!("Margarita");
        body["last_name"] = json!("Benítez-Oyarzábal");
        body
    };
    let client = client(stand);
    for (password, code) in [
        ("margarita", "password_too_similar"),
        ("atiragram", "password_too_similar"),
        ("MargaritA1", "password_too_similar"),
        ("1benitez1", "password_too_similar"),
        ("oyarzabal", "password_too_similar"),
        ("hospital9", "password_too_similar"),
        ("margarita.benitez@hospital.example", "password_too_similar"),
        ("8350917462", "password_entirely_numeric"),
        ("٨٣٥٠٩١٧٤٦٢", "password_entirely_numeric"),
    ] {
        let answer = client.post(REGISTER, person(password)).await.unwrap();
        assert!(answer.status == 422 && faults(&answer).contains(&refusal(code)), "{password}: {answer:?}");
    }
    let all = client.post(REGISTER, person("123456")).await.unwrap();
    let codes: HashSet<_> = faults(&all).into_iter().map(|(_, code)| code).collect();
    let expected = ["password_too_short", "password_too_common", "password_entirely_numeric"];
    assert_eq!(codes, expected.map(str::to_owned).into(), "all reasons in one answer");
    let fine = client.post(REGISTER, person("marjoram hospice 4")).await.unwrap();
    assert_eq!(fine.status, 201, "{fine:?}");
}

/// C021. Breaks when `core/src/password/policy.rs`: `Validator::Breached(list) => list.contains(self.password).then(|| Violation {` → `Validator::Breached(list) => (list.contains(self.password) && self.password.is_empty()).then(|| Violation {`.
#[tokio::test]
async fn words_of_the_service_and_breached_passwords_are_refused_when_that_is_asked_for() {
    let breached = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("breached.txt");
    std::fs::write(&breached, "turquoise gondola 5\n").unwrap();
    let stand = shared().await;
    let settings = [
        ("PASSWORD_VALIDATORS", "length,context,breached"),
        ("PASSWORD_BREACHED_FILE", breached.to_str().unwrap()),
        ("FRONTEND_URL", "http://orchard.example:3000"),
    ];
    let (_strict, base) = stand.another_api_with(&settings).await.unwrap();
    let strict = client(stand).at(&base);
    for (password, code) in [
        ("myDoorbook2026!", "password_context"),
        ("an ORCHARD of pears", "password_context"),
        ("turquoise gondola 5", "password_breached"),
    ] {
        let answer = strict.post(REGISTER, registration(&someone(), password)).await.unwrap();
        assert_eq!((answer.status, faults(&answer)), (422, vec![refusal(code)]), "{password}");
    }
    let rules = strict.get("/api/auth/password/rules/").await.unwrap();
    assert_eq!(rules.body["codes"], json!(["password_too_short", "password_context", "password_breached"]));
    let rules = client(stand).get("/api/auth/password/rules/").await.unwrap();
    let codes = ["password_too_similar", "password_too_short", "password_too_common", "password_entirely_numeric"];
    assert_eq!(rules.body, json!({ "min_length": 8, "max_length": 1024, "codes": codes }));
}

/// C021. Breaks when `core/src/password/policy.rs`: `is_common(&self.lowercase).then(|| Violation {` → `(self.lowercase.len() == 16).then(|| Violation {`.
#[tokio::test]
async fn random_passwords_are_accepted() {
    let stand = shared().await;
    for _ in 0..dose(40, 500) {
        let bytes: [u8; 12] = doorbook_core::token::random();
        let password = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(password.len(), 16);
        assert_eq!(try_registering(stand, &someone(), &password).await.status, 201, "{password}");
    }
}

/// C022. Breaks when `core/src/password/argon.rs`: `pub(super) const SALT_LEN: usize = 16;` → `pub(super) const SALT_LEN: usize = 12;`.
#[tokio::test]
async fn a_stored_hash_is_argon2id_with_the_default_parameters_and_a_salt_of_its_own() {
    let stand = shared().await;
    let insider = Insider::of(stand).await;
    // Empty counts as unset.
    let defaults = [("ARGON2_MEMORY_KIB", ""), ("ARGON2_TIME_COST", ""), ("ARGON2_PARALLELISM", "")];
    let (_api, base) = stand.another_api_with(&defaults).await.unwrap();
    let mut salts = HashSet::new();
    for _ in 0..dose(3, 1_000) {
        let email = someone();
        let answer = client(stand).at(&base).post(REGISTER, registration(&email, PASSWORD)).await.unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        let hash = insider.stored_hash(&email).await;
        let rest = hash.strip_prefix("$argon2id$v=19$m=102400,t=2,p=8$").unwrap_or_else(|| panic!("{hash}"));
        let (salt, output) = rest.split_once('$').unwrap();
        let length = |text: &str| STANDARD_NO_PAD.decode(text).unwrap().len();
        assert_eq!((length(salt), length(output)), (16, 32), "{hash}");
        assert!(salts.insert(salt.to_owned()), "a salt came twice");
    }
}

/// C022. Breaks when `core/src/service/login.rs`: `if verified.rehash` → `if verified.rehash && owner.is_none()`.
#[tokio::test]
async fn a_hash_from_django_logs_in_with_the_old_password_and_is_upgraded() {
    let stand = shared().await;
    let insider = Insider::of(stand).await;
    let vectors: Value =
        serde_json::from_str(include_str!("../../../core/tests/vectors/password-hashes.json")).unwrap();
    let mut upgraded = HashSet::new();
    for vector in vectors.as_array().unwrap().iter().filter(|vector| vector["valid"] == true) {
        let field = |name: &str| vector[name].as_str().unwrap();
        let (email, imported) = (registered(stand).await, field("encoded"));
        insider.import_hash(&email, imported).await;
        assert_eq!(login(stand, &email, PASSWORD).await.status, 401, "{imported}");
        assert_eq!(insider.stored_hash(&email).await, imported, "a wrong password changes nothing");
        assert_eq!(login(stand, &email, field("password")).await.status, 200, "{imported}");
        let stored = insider.stored_hash(&email).await;
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{imported} became {stored}");
        assert_eq!(insider.events(&email, "PasswordRehashed").await, 1);
        assert_eq!(login(stand, &email, field("password")).await.status, 200, "and it still logs in");
        upgraded.insert(field("kind").to_owned());
    }
    for kind in ["pbkdf2_sha256", "pbkdf2_sha1", "bcrypt_sha256", "argon2", "scrypt", "bcrypt"] {
        assert!(upgraded.contains(kind), "{kind}");
    }
    for unusable in ["!", "!9awBtK2SfMOXs0bqphQ2yzlOfSvZ6aOxa9fUMbJZ", "", "plain", "md5$salt$hash"] {
        let email = registered(stand).await;
        insider.import_hash(&email, unusable).await;
        for password in [PASSWORD, unusable, "x"].into_iter().filter(|password| !password.is_empty()) {
            let mut wire: Wire = wire(stand).await;
            let reply = wire.post("/api/auth/login/", &credentials(&email, password)).await;
            assert_eq!(reply.problem().0, "invalid-credentials", "{unusable}");
        }
    }
}
