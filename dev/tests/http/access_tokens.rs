//! Access tokens that somebody has made up, and tokens that our own key has signed with something else in them.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbook_dev::Stand;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::common::*;
use crate::wire::Wire;

async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND.get_or_init(|| stand(&[])).await
}

/// A genuine token, taken apart.
pub struct Specimen {
    pub token: String,
    pub header: Value,
    pub claims: Value,
}

pub fn specimen(access: &str) -> Specimen {
    let part = |index| {
        let text = access.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    Specimen { token: access.to_owned(), header: part(0), claims: part(1) }
}

pub fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of these two texts, signed with `key`.
pub fn signed_text(algorithm: hmac::Algorithm, key: &[u8], header: &str, claims: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(algorithm, key), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A token signed with our own key.
fn signed(header: &Value, claims: &Value) -> String {
    signed_text(hmac::HMAC_SHA256, JWT_SECRET_KEY.as_bytes(), &header.to_string(), &claims.to_string())
}

/// `value` with some of its fields replaced; `Null` takes one away.
pub fn with(value: &Value, changes: &Value) -> Value {
    let mut copy = value.clone();
    let fields = copy.as_object_mut().unwrap();
    for (name, new) in changes.as_object().unwrap() {
        if new.is_null() {
            fields.remove(name)
        } else {
            fields.insert(name.clone(), new.clone())
        };
    }
    copy
}

/// Refused as a bearer and as the subject of a check, with the same problem.
pub async fn refused(wire: &mut Wire, what: &str, token: &str) {
    let check = wire.post("/api/auth/token/verify/", &json!({ "token": token })).await;
    assert_eq!((check.status, check.problem().0.as_str()), (401, "unauthorized"), "{what}: {token}");
    // What no header can hold is not sent as one, and spaces before a token belong to the header.
    if token.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && !token.starts_with(' ') {
        let bearer = format!("Bearer {token}");
        let profile = wire.get("/api/auth/profile/", &[("Authorization", &bearer)]).await;
        assert_eq!((profile.status, profile.problem().0.as_str()), (401, "unauthorized"), "{what}: {token}");
        assert_eq!(profile.header("www-authenticate"), Some("Bearer"), "{what}");
    }
}

/// Tokens that claim another algorithm, another key, or a header that brings its own.
fn forged_headers(genuine: &Specimen) -> Vec<(String, String)> {
    let Specimen { token, header, claims } = genuine;
    let (_, signature) = token.rsplit_once('.').unwrap();
    let claims_text = claims.to_string();
    let mut forged = Vec::new();
    for algorithm in ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 "] {
        let header = with(header, &json!({ "alg": algorithm })).to_string();
        let unsigned = format!("{}.{}", encode(&header), encode(&claims_text));
        forged.push((format!("alg {algorithm:?} without signature"), format!("{unsigned}.")));
        forged.push((format!("alg {algorithm:?}, old signature"), format!("{unsigned}.{signature}")));
    }
    let key = JWT_SECRET_KEY.as_bytes();
    for (name, algorithm) in [("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
        let header = with(header, &json!({ "alg": name })).to_string();
        forged.push((name.to_owned(), signed_text(algorithm, key, &header, &claims_text)));
    }
    for name in ["RS256", "PS256", "ES256", "EdDSA", "dir", "A128KW"] {
        forged.push((name.to_owned(), signed(&with(header, &json!({ "alg": name })), claims)));
    }
    for foreign in [&b""[..], b"secret", b"0", SECRET_KEY.as_bytes(), header["kid"].as_str().unwrap().as_bytes()] {
        let token = signed_text(hmac::HMAC_SHA256, foreign, &header.to_string(), &claims_text);
        forged.push((format!("signed with {foreign:?}"), token));
    }
    for kid in [
        json!("../../../../dev/null"),
        json!("' or 1=1 --"),
        json!("0000000000000000"),
        json!(""),
        json!("\u{0}"),
        json!(1),
        json!(true),
        json!([header["kid"]]),
        json!({ "kid": header["kid"] }),
    ] {
        let changed = with(header, &json!({ "kid": kid })).to_string();
        forged.push((format!("kid {kid}, empty key"), signed_text(hmac::HMAC_SHA256, b"", &changed, &claims_text)));
        forged.push((format!("kid {kid}, our key"), signed_text(hmac::HMAC_SHA256, key, &changed, &claims_text)));
    }
    let brought = json!({ "kty": "oct", "k": encode("mine") });
    for (name, value) in [
        ("kid", Value::Null),
        ("typ", Value::Null),
        ("alg", Value::Null),
        ("typ", json!("JWT")),
        ("typ", json!("AT+JWT ")),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain")),
        ("jwk", brought),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AA")),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
    ] {
        forged.push((format!("{name}: {value}"), signed(&with(header, &json!({ name: value })), claims)));
    }
    let twice = header.to_string().replacen('{', "{\"alg\":\"none\",", 1);
    forged.push(("alg twice".to_owned(), signed_text(hmac::HMAC_SHA256, key, &twice, &claims_text)));
    forged.push(("header is null".to_owned(), signed_text(hmac::HMAC_SHA256, key, "null", &claims_text)));
    forged
}

/// Of base64url, in the order of the values. Source: RFC 4648, section 5.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Texts that are no compact token, made of one.
fn malformed(genuine: &Specimen) -> Vec<(String, String)> {
    let token = &genuine.token;
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{token}") };
    let other = with(&genuine.claims, &json!({ "sub": "00000000-0000-7000-8000-000000000000" }));
    // 43 characters hold 258 bits for 256: the last one has neighbours that decode to the same bytes.
    let (altered, last) = signature.split_at(signature.len() - 1);
    let at = ALPHABET.find(last).unwrap();
    let neighbour = &ALPHABET[at ^ 1..][..1];
    [
        ("empty", String::new()),
        ("a dot", ".".to_owned()),
        ("two dots", "..".to_owned()),
        ("no signature", format!("{header}.{claims}")),
        ("empty signature", format!("{header}.{claims}.")),
        ("no claims", format!("{header}..{signature}")),
        ("no header", format!(".{claims}.{signature}")),
        ("four parts", format!("{token}.{signature}")),
        ("a dot behind", format!("{token}.")),
        ("a dot before", format!(".{token}")),
        ("five parts", format!("{header}.{header}.{claims}.{signature}.{signature}")),
        ("a space inside", format!("{header}. {claims}.{signature}")),
        ("a line feed behind", format!("{token}\n")),
        ("a space before", format!(" {token}")),
        ("a tab inside", format!("{header}\t.{claims}.{signature}")),
        ("NUL behind", format!("{token}\u{0}")),
        ("padded", format!("{header}=.{claims}=.{signature}=")),
        ("a neighbour of the signature", format!("{header}.{claims}.{altered}{neighbour}")),
        ("shorter signature", format!("{header}.{claims}.{altered}")),
        ("other claims", format!("{header}.{}.{signature}", encode(&other.to_string()))),
        ("JSON form", json!({ "protected": header, "payload": claims, "signature": signature }).to_string()),
        ("twice", format!("{token},{token}")),
        ("bearer in it", format!("Bearer {token}")),
        ("upper case", token.to_uppercase()),
        ("no base64", format!("{header}.{claims}.!!!!")),
        ("long", "a".repeat(8_000)),
        ("a refresh token", "dbr_".to_owned() + &"A".repeat(70)),
    ]
    .map(|(what, token)| (what.to_owned(), token))
    .into()
}

/// C037. Breaks when `core/src/token/access.rs`: `header.typ == TYPE && header.alg == key.algorithm.name()` → `!header.alg.is_empty()`.
#[tokio::test]
async fn no_forged_or_malformed_access_token_is_accepted() {
    let stand = shared().await;
    let (_, session) = welcomed(stand).await;
    let genuine = specimen(session.text("access"));
    let mut wire = wire(stand).await;
    let forged = [forged_headers(&genuine), malformed(&genuine)].concat();
    assert!(forged.len() >= 40);
    for (what, token) in &forged {
        refused(&mut wire, what, token).await;
    }
    // Made by the same hands, so that it is not the hands that are refused.
    let same = signed(&genuine.header, &genuine.claims);
    let check = wire.post("/api/auth/token/verify/", &json!({ "token": same })).await;
    assert_eq!((check.status, &check.json()["session_id"]), (200, &genuine.claims["sid"]), "{check:?}");
}

/// C037. Breaks when `api/src/auth.rs`: `bearer_token(request)?` → `request.header("authorization").and_then(|value| value.split_once(' ')).map_or("", |(_, token)| token)`.
#[tokio::test]
async fn one_well_formed_authorization_header_counts_and_nothing_else_does() {
    let stand = shared().await;
    let (_, session) = welcomed(stand).await;
    let token = session.text("access");
    let [bearer, lower, basic, bare, both] =
        ["Bearer ", "bearer ", "Basic ", "", "Bearer a, Bearer "].map(|scheme| format!("{scheme}{token}"));
    let mut wire = wire(stand).await;
    let path = "/api/auth/profile/";
    for header in [&bearer, &lower] {
        assert_eq!(wire.get(path, &[("Authorization", header)]).await.status, 200, "{header}");
    }
    let cookie = format!("access={token}");
    let [good, basic, bare, both, nothing, other] =
        [&bearer, &basic, &bare, &both, "Bearer", "Bearer a"].map(|value| ("Authorization", value));
    for headers in [
        &[][..],
        &[basic],
        &[bare],
        &[both],
        &[nothing],
        &[good, good],
        &[good, other],
        &[other, good],
        &[("Proxy-Authorization", good.1)],
        &[("Cookie", &cookie)],
    ] {
        let reply = wire.get(path, headers).await;
        assert_eq!((reply.status, reply.problem().0.as_str()), (401, "unauthorized"), "{headers:?}");
    }
    assert_eq!(wire.get(&format!("{path}?access_token={token}"), &[]).await.status, 401);
}

/// C038. Breaks when `core/src/token/access.rs`: `claims.token_use == TOKEN_USE` → `!claims.token_use.is_empty()`.
#[tokio::test]
async fn no_token_with_wrong_claims_is_accepted_however_well_it_is_signed() {
    let stand = shared().await;
    let ((_, session), (_, other)) = (welcomed(stand).await, welcomed(stand).await);
    let Specimen { header, claims, .. } = specimen(session.text("access"));
    let theirs = specimen(other.text("access")).claims;
    let mut wire = wire(stand).await;
    for change in wrong_claims(&claims, &theirs) {
        let token = signed(&header, &with(&claims, &change));
        refused(&mut wire, &change.to_string(), &token).await;
    }
    let text = claims.to_string();
    for (what, text) in [
        ("exp twice", text.replacen('{', "{\"exp\":9999999999,", 1)),
        ("claims as an array", format!("[{text}]")),
        ("claims are null", "null".to_owned()),
        ("no claims", String::new()),
    ] {
        let token = signed_text(hmac::HMAC_SHA256, JWT_SECRET_KEY.as_bytes(), &header.to_string(), &text);
        refused(&mut wire, what, &token).await;
    }
    let check = wire.post("/api/auth/token/verify/", &json!({ "token": signed(&header, &claims) })).await;
    assert_eq!(check.status, 200, "{check:?}");
}

/// Changes of `claims` after which no token may be accepted; `theirs` are those of somebody else.
pub fn wrong_claims(claims: &Value, theirs: &Value) -> Vec<Value> {
    let now = claims["iat"].as_i64().unwrap();
    let mut changes = Vec::new();
    for (name, good) in [("exp", now + 600), ("nbf", now), ("iat", now)] {
        for wrong in [
            json!(good.to_string()),
            json!(1.5),
            json!(-1),
            json!(1e30),
            json!(-1e30),
            json!([good]),
            json!({ "at": good }),
            json!(true),
            json!(u64::MAX),
            Value::Null,
        ] {
            changes.push(json!({ name: wrong }));
        }
    }
    changes.extend([json!({ "exp": now - 1 }), json!({ "exp": 0 })]);
    changes.extend([
        json!({ "nbf": now + 60 }),
        json!({ "iat": now + 60 }),
        json!({ "nbf": now + 60, "exp": now + 900 }),
    ]);
    for aud in [json!("other"), json!(["doorbook"]), json!(["doorbook", "other"]), json!([]), json!(""), json!(1)] {
        changes.push(json!({ "aud": aud }));
    }
    for iss in
        [json!("https://evil.example"), json!("http://localhost:3000/"), json!(["http://localhost:3000"]), json!("")]
    {
        changes.push(json!({ "iss": iss }));
    }
    let nobody = "00000000-0000-7000-8000-000000000000";
    for (name, theirs) in [("sub", &theirs["sub"]), ("sid", &theirs["sid"])] {
        for wrong in [theirs.clone(), json!(nobody), json!([claims[name]]), json!(""), json!("*"), json!(7)] {
            changes.push(json!({ name: wrong }));
        }
    }
    for name in ["aud", "iss", "sub", "sid", "jti", "token_use"] {
        changes.push(json!({ name: null }));
    }
    for token_use in ["refresh", "Access", "id", ""] {
        changes.push(json!({ "token_use": token_use }));
    }
    changes.extend([json!({ "role": "admin" }), json!({ "jti": "x" }), json!({ "scope": "*" })]);
    changes
}
