//! Keys of access tokens. The files under `vectors/keys` were made by OpenSSL for these tests alone.

use doorbook_core::config::{Environment, Process, Settings, new_secret_block_for};
use doorbook_core::token::access::{SigningKey, TokenKeys};
use doorbook_core::token::signing::{Algorithm, PrivateKey, PublicKey};

use crate::support::{OTHER_JWT_SECRET_KEY, Pair, load, refused, with, without};

macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../vectors/keys/", $name, ".pem"))
    };
}

fn tokens(changes: &[Pair<'_>]) -> TokenKeys {
    load(&without(&["JWT_SECRET_KEY"], changes)).unwrap().secrets.tokens
}

/// The fault of `JWT_PRIVATE_KEY`, and nothing but that.
fn fault(algorithm: &str, key: &str) -> String {
    let faults = load(&with(&[("JWT_ALGORITHM", algorithm), ("JWT_PRIVATE_KEY", key)])).unwrap_err().to_string();
    let rule = faults.strip_prefix("JWT_PRIVATE_KEY: ").unwrap_or_else(|| panic!("{faults}"));
    assert!(!key.lines().any(|line| line.len() > 30 && rule.contains(line)), "{rule}");
    rule.to_owned()
}

#[test]
fn each_algorithm_takes_its_own_kind_of_key_and_needs_no_shared_secret() {
    for (algorithm, key, public) in [
        ("EdDSA", pem!("ed25519"), pem!("ed25519-public")),
        ("ES256", pem!("p256"), pem!("p256-public")),
        ("RS256", pem!("rsa2048"), pem!("rsa2048-public")),
    ] {
        for text in [key.to_owned(), key.replace('\n', "\\n"), key.replace('\n', "\r\n")] {
            let ring = tokens(&[("JWT_ALGORITHM", algorithm), ("JWT_PRIVATE_KEY", &text)]);
            let SigningKey::Private(own) = &ring.current else { panic!("{algorithm}") };
            assert_eq!(own.public().algorithm().name(), algorithm);
            assert_eq!(&PublicKey::all_of_pem(public).unwrap()[0], own.public(), "OpenSSL agrees on the public half");
            assert_eq!(own.public().to_pem(), public);
            assert_eq!(own.to_pem().as_str(), key);
            assert!(!format!("{ring:?}").contains(key.lines().nth(1).unwrap()));
        }
    }
}

#[test]
fn a_private_key_that_does_not_fit_is_refused_by_name_and_rule() {
    for (algorithm, key, rule) in [
        ("EdDSA", pem!("p256"), "Ed25519"),
        ("EdDSA", pem!("rsa2048"), "Ed25519"),
        ("ES256", pem!("ed25519"), "P-256"),
        ("ES256", pem!("p384"), "P-256"),
        ("RS256", pem!("p256"), "RSA"),
        ("RS256", pem!("rsa1024"), "2048 to 4096 bits"),
        ("RS256", pem!("rsa2048-e3"), "65537"),
        ("RS256", pem!("rsa2048-pkcs1"), "PKCS#8"),
        ("ES256", pem!("p256-sec1"), "PKCS#8"),
        ("ES256", pem!("p256-encrypted"), "unencrypted"),
        ("ES256", pem!("p256-public"), "PKCS#8"),
        ("EdDSA", concat!(pem!("ed25519"), pem!("ed25519")), "exactly one"),
        ("EdDSA", OTHER_JWT_SECRET_KEY, "PEM"),
        ("EdDSA", "", "must be set"),
    ] {
        let said = fault(algorithm, key);
        assert!(said.contains(rule), "{algorithm}: {said}, not {rule}");
    }
}

#[test]
fn public_fallbacks_are_blocks_one_after_the_other_of_any_algorithm() {
    let all = [pem!("ed25519-public"), pem!("p256-public"), pem!("rsa2048-public")].concat();
    let ring = load(&with(&[("JWT_PUBLIC_KEY_FALLBACKS", &all)])).unwrap().secrets.tokens;
    let algorithms: Vec<_> = ring.public().iter().map(|key| key.algorithm()).collect();
    assert_eq!(algorithms, [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256], "also while HS256 signs");
    for wrong in [
        pem!("ed25519"),
        pem!("p384-public"),
        pem!("rsa1024-public"),
        pem!("rsa2048-e3-public"),
        &all[..all.len() - 40],
        &[all.as_str(), ","].concat(),
        &pem!("ed25519-public").repeat(9),
    ] {
        assert_eq!(refused(&with(&[("JWT_PUBLIC_KEY_FALLBACKS", wrong)])), ["JWT_PUBLIC_KEY_FALLBACKS"], "{wrong}");
    }
}

#[test]
fn a_move_to_another_algorithm_keeps_the_shared_secret_as_a_fallback() {
    let ring = tokens(&[
        ("JWT_ALGORITHM", "eddsa"),
        ("JWT_PRIVATE_KEY", pem!("ed25519")),
        ("JWT_SECRET_KEY_FALLBACKS", OTHER_JWT_SECRET_KEY),
    ]);
    assert_eq!((ring.shared_fallbacks.len(), ring.public().len()), (1, 1));
}

#[test]
fn a_name_is_the_thumbprint_of_the_public_key() {
    // RFC 8037, appendix A.3.
    let spki = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----";
    let key = &PublicKey::all_of_pem(spki).unwrap()[0];
    assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(key.jwk().x.as_deref(), Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
}

#[test]
fn a_fresh_key_is_read_back() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let key = PrivateKey::generate(algorithm).unwrap().unwrap();
        let again = PrivateKey::of_pem(&key.to_pem(), algorithm).unwrap();
        assert_eq!(key.public(), again.public());
    }
    assert!(PrivateKey::generate(Algorithm::Hs256).unwrap().is_none());
}

#[test]
fn a_fresh_block_for_each_algorithm_loads_as_it_is_printed() {
    for algorithm in Algorithm::ALL {
        let block = new_secret_block_for(algorithm).unwrap();
        let base = without(&["SECRET_KEY", "JWT_SECRET_KEY"], &[]);
        let text: String = base.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect::<Vec<_>>().concat();
        let environment = Environment::of_dotenv(&format!("{text}{}", *block)).unwrap();
        let ring = Settings::load(&environment, Process::Api).unwrap().secrets.tokens;
        let own = match &ring.current {
            SigningKey::Shared(_) => Algorithm::Hs256,
            SigningKey::Private(key) => key.public().algorithm(),
        };
        assert_eq!(own, algorithm);
        // The comment with the public half, as the other processes get it first.
        if let Some(line) = block.lines().find_map(|line| line.strip_prefix("# JWT_PUBLIC_KEY_FALLBACKS=")) {
            let fallback = load(&with(&[("JWT_PUBLIC_KEY_FALLBACKS", line.trim_matches('\''))])).unwrap();
            assert_eq!(fallback.secrets.tokens.public(), ring.public());
        }
    }
}
