//! Access tokens under a key pair: what others may verify, and what nobody may forge with what is public.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbook_core::token::pem;
use doorbook_core::token::signing::{Algorithm, PrivateKey};
use doorbook_dev::Stand;
use serde_json::{Value, json};

use crate::access_tokens::{Specimen, encode, refused, signed_text, specimen, with, wrong_claims};
use crate::common::*;

/// The ways in which a message can be signed with one key.
struct Signer {
    algorithm: Algorithm,
    pkcs8: Vec<u8>,
}

impl Signer {
    fn new(key: &PrivateKey) -> Self {
        let blocks = pem::blocks(&key.to_pem()).unwrap();
        Self { algorithm: key.public().algorithm(), pkcs8: blocks[0].der.to_vec() }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        match self.algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(&self.pkcs8).unwrap().sign(message).as_ref().to_vec(),
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8).unwrap();
                pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).unwrap();
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Algorithm::Hs256 => panic!("HS256 has no pair"),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(&header.to_string()), encode(&claims.to_string()));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The same algorithm in a form that is not JOSE's.
    fn token_of_another_form(&self, header: &Value, claims: &Value) -> Option<String> {
        let message = format!("{}.{}", encode(&header.to_string()), encode(&claims.to_string()));
        let signature = match self.algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8).unwrap();
                pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).unwrap();
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Algorithm::EdDsa | Algorithm::Hs256 => return None,
        };
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Whether the published key verifies the token, judged without the product's code.
fn verifies(jwk: &Value, token: &str) -> bool {
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let message = message.as_bytes();
    match (jwk["kty"].as_str(), jwk["crv"].as_str(), jwk["alg"].as_str()) {
        (Some("OKP"), Some("Ed25519"), Some("EdDSA")) => {
            UnparsedPublicKey::new(&ED25519, bytes("x")).verify(message, &signature).is_ok()
        }
        (Some("EC"), Some("P-256"), Some("ES256")) => {
            let point = [vec![4], bytes("x"), bytes("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &signature).is_ok()
        }
        (Some("RSA"), None, Some("RS256")) => RsaPublicKeyComponents { n: bytes("n"), e: bytes("e") }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, &signature)
            .is_ok(),
        other => panic!("{other:?}"),
    }
}

fn forged(genuine: &Specimen, jwk: &Value, key: &PrivateKey) -> Vec<(String, String)> {
    let Specimen { token, header, claims } = genuine;
    let (own, stranger) =
        (Signer::new(key), Signer::new(&PrivateKey::generate(key.public().algorithm()).unwrap().unwrap()));
    let (_, signature) = token.rsplit_once('.').unwrap();
    let claims_text = claims.to_string();
    let mut forged = vec![("signed by another pair".to_owned(), stranger.token(header, claims))];
    forged.extend(own.token_of_another_form(header, claims).map(|token| ("another form".to_owned(), token)));
    // What is public must be nobody's HS256 secret.
    let public = key.public().to_pem();
    let der = pem::blocks(&public).unwrap()[0].der.to_vec();
    let raw = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().or(jwk["n"].as_str()).unwrap()).unwrap();
    for name in ["HS256", "HS384", header["alg"].as_str().unwrap(), "hs256"] {
        let header = with(header, &json!({ "alg": name })).to_string();
        for secret in [public.as_bytes(), public.trim().as_bytes(), &der, &raw, jwk.to_string().as_bytes(), b""] {
            let token = signed_text(hmac::HMAC_SHA256, secret, &header, &claims_text);
            forged.push((format!("{name} with {} public bytes as its secret", secret.len()), token));
        }
        // The deployment's shared secret is set and no part of this ring.
        let token = signed_text(hmac::HMAC_SHA256, JWT_SECRET_KEY.as_bytes(), &header, &claims_text);
        forged.push((format!("{name} with the shared secret"), token));
    }
    for name in ["none", "None", "", "HS256", "RS256", "ES256", "EdDSA", "PS256", "ES384"] {
        if header["alg"] != name {
            let other = with(header, &json!({ "alg": name }));
            forged.push((format!("alg {name:?}, right key"), own.token(&other, claims)));
            let unsigned = format!("{}.{}.", encode(&other.to_string()), encode(&claims_text));
            forged.push((format!("alg {name:?}, no signature"), unsigned.clone()));
            forged.push((format!("alg {name:?}, old signature"), format!("{unsigned}{signature}")));
        }
    }
    for kid in [json!("0000000000000000"), json!(""), json!(null), json!(1), json!("../../dev/null")] {
        let other = with(header, &json!({ "kid": kid }));
        forged.push((format!("kid {kid}, right key"), own.token(&other, claims)));
    }
    let mine = serde_json::to_value(PrivateKey::generate(Algorithm::EdDsa).unwrap().unwrap().public().jwk()).unwrap();
    for (name, value) in [("jwk", mine), ("jku", json!("https://evil.example/jwks.json")), ("x5c", json!(["MIIB"]))] {
        let other = with(header, &json!({ name: value }));
        forged.push((format!("{name}, signed by its key"), stranger.token(&other, claims)));
        forged.push((format!("{name}, right key"), own.token(&other, claims)));
    }
    let message = format!("{}.{}", encode(&header.to_string()), encode(&claims_text));
    for length in [0, 1, 63, 64, 65, 384] {
        let zeros = URL_SAFE_NO_PAD.encode(vec![0; length]);
        forged.push((format!("{length} zeros as signature"), format!("{message}.{zeros}")));
    }
    forged
}

async fn check(stand: &Stand, key: &PrivateKey) {
    let ((_, session), (_, other)) = (welcomed(stand).await, welcomed(stand).await);
    let genuine = specimen(session.text("access"));
    let algorithm = key.public().algorithm().name();
    assert_eq!(
        (genuine.header["alg"].as_str(), genuine.header["kid"].as_str()),
        (Some(algorithm), Some(key.public().kid()))
    );

    let answer = client(stand).get("/.well-known/jwks.json").await.unwrap();
    assert_eq!(answer.headers["cache-control"], "public, max-age=300");
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"), "{:?}", answer.headers);
    let keys = answer.body["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(
        (&keys[0]["kid"], &keys[0]["alg"], &keys[0]["use"]),
        (&genuine.header["kid"], &json!(algorithm), &json!("sig"))
    );
    assert!(["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|name| keys[0].get(name).is_none()), "{keys:?}");
    assert!(verifies(&keys[0], &genuine.token), "others can verify what we sign");

    let mut wire = wire(stand).await;
    for (what, token) in forged(&genuine, &keys[0], key) {
        refused(&mut wire, &format!("{algorithm}: {what}"), &token).await;
    }
    let theirs = specimen(other.text("access")).claims;
    let signer = Signer::new(key);
    for change in wrong_claims(&genuine.claims, &theirs) {
        let token = signer.token(&genuine.header, &with(&genuine.claims, &change));
        refused(&mut wire, &format!("{algorithm}: {change}"), &token).await;
    }
    // Made by the same hands, so that it is not the hands that are refused.
    let same = signer.token(&genuine.header, &genuine.claims);
    let check = wire.post("/api/auth/token/verify/", &json!({ "token": same })).await;
    assert_eq!(check.status, 200, "{check:?}");
}

/// C037, C038, C040. Breaks when `core/src/token/access.rs`: `.find(|key| key.kid == header.kid)?;` → `.find(|key| !key.kid.is_empty() || key.kid == header.kid)?;`.
#[tokio::test]
async fn tokens_of_a_key_pair_are_verified_by_anyone_and_forged_by_no_one() {
    let mut api: Option<Stand> = None;
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
        let key = PrivateKey::generate(algorithm).unwrap().unwrap();
        let text = key.to_pem();
        let settings = [("JWT_ALGORITHM", algorithm.name()), ("JWT_PRIVATE_KEY", text.as_str())];
        let stand = match api.take() {
            None => stand(&settings).await,
            Some(mut stand) => {
                stand.api.kill().await.unwrap();
                stand.api = stand.api_at(&stand.base, &settings).await.unwrap();
                stand
            }
        };
        check(&stand, &key).await;
        api = Some(stand);
    }
}
