//! What is asked of each parser, whatever it is given. Two drive these: `cargo fuzz`, whose targets in `fuzz/` are made of this file,
//! and `main.rs` beside it.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::LazyLock;

use doorbook_api::middleware::client::{Scheme, TrustedProxies};
use doorbook_core::audit::checkpoint::Checkpoint;
use doorbook_core::audit::note::{Note, Verifier};
use doorbook_core::clock::Timestamp;
use doorbook_core::config::{Environment, Process, Settings};
use doorbook_core::event::{Event, Personal};
use doorbook_core::password;
use doorbook_core::service::admin::parse_reason;
use doorbook_core::token::access::{AccessTokens, TokenKeys};
use doorbook_core::token::keys::{RootRing, Use};
use doorbook_core::token::signing::{Algorithm, PrivateKey, PublicKey};
use doorbook_core::token::{cursor, opaque, pem};
use doorbook_core::value::{Email, Locale, PersonName};
use poem::http::{HeaderMap, HeaderName, HeaderValue};

pub type Body = fn(&[u8]);

/// By the name of its target.
pub const BODIES: [(&str, Body); 11] = [
    ("access_token", access_token),
    ("cursor", cursor_text),
    ("email", email),
    ("event", event),
    ("fields", fields),
    ("forwarded", forwarded),
    ("key_files", key_files),
    ("note", note),
    ("opaque_token", opaque_token),
    ("password_hash", password_hash),
    ("settings", settings),
];

static RING: LazyLock<RootRing> = LazyLock::new(|| RootRing::new(&[1; 50], &[&[2; 50]]));

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// Nobody without the key makes an access token.
pub fn access_token(input: &[u8]) {
    static TOKENS: LazyLock<AccessTokens> =
        LazyLock::new(|| AccessTokens::new(&TokenKeys::shared(&[3; 50]), "https://issuer.example", "doorbook"));
    let Some(text) = text(input) else { return };
    assert!(TOKENS.verify(text, Timestamp::from_seconds(1_800_000_000)).is_none());
}

/// A token is of one use and one length, and nobody without the key makes one.
pub fn opaque_token(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let read: Vec<_> =
        Use::ALL.into_iter().filter_map(|purpose| Some((purpose, opaque::parse(purpose, text)?))).collect();
    assert!(read.len() <= 1 && (read.is_empty() || text.len() == opaque::TOKEN_LENGTH));
    for (purpose, presented) in read {
        let ids: Vec<_> = RING.ids().collect();
        assert!(ids.iter().all(|id| !opaque::verify(&RING, purpose, id, &presented, &[0; opaque::SALT_LENGTH])));
        let made =
            opaque::derive(&RING, purpose, ids[0], presented.id, presented.generation, &[0; opaque::SALT_LENGTH]);
        let made = made.expect("the ring holds its own key");
        let again = opaque::parse(purpose, made.expose()).expect("a token that we made is one");
        assert_eq!((again.id, again.generation), (presented.id, presented.generation));
        assert!(opaque::verify(&RING, purpose, ids[0], &again, &[0; opaque::SALT_LENGTH]));
    }
}

/// A cursor goes on where we said, in its own search, and nobody else makes one. First line: the cursor; the rest: the search.
pub fn cursor_text(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let (given, search) = text.split_once('\n').unwrap_or((text, ""));
    assert_eq!(cursor::read(&RING, given, search), None);
    let position = i64::try_from(search.len()).unwrap_or(i64::MAX);
    let made = cursor::write(&RING, position, search);
    assert_eq!(cursor::read(&RING, &made, search), Some(position));
    assert_eq!(cursor::read(&RING, &made, &format!("{search}.")), None);
}

/// A stranger cannot choose an address, and neither can who stands behind a trusted proxy choose what that proxy adds. First byte: the
/// peer; each line: a header.
pub fn forwarded(input: &[u8]) {
    static PROXIES: LazyLock<TrustedProxies> = LazyLock::new(|| {
        let networks = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"];
        let networks = networks.into_iter().filter_map(|network| network.parse().ok()).collect();
        TrustedProxies::new(networks, (HeaderName::from_static("x-forwarded-proto"), "https".into()))
    });
    const PEERS: [(&str, bool); 4] =
        [("127.0.0.1", true), ("::ffff:10.0.0.9", true), ("198.51.100.7", false), ("2001:db8::1", false)];
    let Some((first, lines)) = input.split_first() else { return };
    let (peer, is_trusted) = PEERS[usize::from(*first) % PEERS.len()];
    let Ok(peer) = IpAddr::from_str(peer) else { return };
    let (mut headers, mut entries) = (HeaderMap::new(), 0);
    for line in lines.split(|byte| *byte == b'\n') {
        let (name, value) =
            line.strip_prefix(b"!").map_or(("x-forwarded-for", line), |rest| ("x-forwarded-proto", rest));
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        entries += if name == "x-forwarded-for" { line.split(|byte| *byte == b',').count() } else { 0 };
        headers.append(name, value);
    }
    let client = PROXIES.client(peer, &headers);
    assert_eq!(client.address.0, client.address.0.to_canonical());
    if !is_trusted {
        assert!(client.address.0 == peer.to_canonical() && client.scheme != Scheme::Https);
    }
    // What a hop of ours adds at the end hides nobody. Fewer than are followed.
    if is_trusted && (1..31).contains(&entries) {
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.7"));
        assert_eq!(PROXIES.client(peer, &headers).address, client.address);
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.1, 10.0.0.8"));
        assert_eq!(PROXIES.client(peer, &headers).address.0.to_string(), "203.0.113.1");
    }
}

/// What is taken for an address is short, is one line, is read again as itself, and has one normal form.
pub fn email(input: &[u8]) {
    let Some(Ok(email)) = text(input).map(Email::parse) else { return };
    let is_bare =
        |text: &str| !text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>,;:\"()[]\\".contains(c));
    assert!(email.as_str().len() <= 254 && is_bare(email.as_str()) && is_bare(email.normal_form()));
    assert!(email.domain().is_ascii() && email.domain().contains('.') && email.normal_form().ends_with(email.domain()));
    assert_eq!(Email::parse(email.as_str()).as_ref(), Ok(&email));
    // Lower case can be longer, so that the normal form of a long address may be too long for one.
    if let Ok(normal) = Email::parse(email.normal_form()) {
        assert_eq!(normal.normal_form(), email.normal_form());
        assert_eq!(normal.limit_form(), email.limit_form());
    }
    assert!(email.limit_form().ends_with(email.domain()) && email.masked().ends_with(email.domain()));
}

/// What is read is written as it was read. Lines: kind, name, payload and personal data.
pub fn event(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let mut lines = text.splitn(4, '\n');
    let (Some(kind), Some(name), Some(payload)) = (lines.next(), lines.next(), lines.next()) else { return };
    let Ok(payload) = serde_json::from_str(payload) else { return };
    let personal: Option<Personal> = lines.next().and_then(|line| serde_json::from_str(line).ok());
    let Ok(event) = Event::read(kind, name, &payload, personal.as_ref()) else { return };
    let (stored, payload) = event.stored();
    assert_eq!(stored, name);
    let again = Event::read(kind, name, &payload, Some(&event.personal())).expect("what we write, we read");
    assert_eq!(again, event);
    assert_eq!(again.stored(), (stored, payload));
}

/// Names, languages, reasons and times.
pub fn fields(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(name) = PersonName::parse(text) {
        assert!(!name.as_str().contains(char::is_control));
        assert_eq!(PersonName::parse(name.as_str()).as_ref(), Ok(&name));
    }
    if let Ok(reason) = parse_reason(text) {
        assert_eq!(parse_reason(&reason).ok(), Some(reason));
    }
    if let Some(locale) = Locale::parse(text) {
        assert_eq!(Locale::parse(locale.as_str()), Some(locale));
    }
    if let Some(time) = Timestamp::parse_rfc3339(text) {
        assert_eq!(Timestamp::parse_rfc3339(&time.rfc3339()), Some(time));
    }
}

/// A key that is read is written as one that is the same.
pub fn key_files(input: &[u8]) {
    let Some(text) = text(input) else { return };
    for block in pem::blocks(text).unwrap_or_default() {
        assert!(pem::blocks(&pem::encode(&block.label, &block.der)).is_some_and(|blocks| blocks.len() == 1));
    }
    for key in PublicKey::all_of_pem(text).unwrap_or_default() {
        assert_eq!(PublicKey::all_of_pem(&key.to_pem()).ok().as_deref(), Some(&[key][..]));
    }
    for algorithm in Algorithm::ALL {
        let Ok(key) = PrivateKey::of_pem(text, algorithm) else { continue };
        let again = PrivateKey::of_pem(&key.to_pem(), algorithm).expect("a key that we write is one");
        assert_eq!(again.public(), key.public());
    }
}

/// A signed text is read as it was written, and a key vouches for nothing that it has not signed.
pub fn note(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(verifier) = text.parse::<Verifier>() {
        assert_eq!(verifier.to_string().parse::<Verifier>().map(|again| again.id()).ok(), Some(verifier.id()));
    }
    let Ok(note) = text.parse::<Note>() else { return };
    let again: Note = note.to_string().parse().expect("a note that we write is one");
    assert_eq!((again.text(), again.key_ids()), (note.text(), note.key_ids()));
    if let Some(checkpoint) = Checkpoint::parse(note.text()) {
        let written = checkpoint.sign(&[]);
        assert_eq!(Checkpoint::parse(written.text()), Some(checkpoint));
    }
}

/// A stored hash that is read has a known format and a length that a row can hold.
pub fn password_hash(input: &[u8]) {
    const KNOWN: [&str; 6] = ["argon2", "bcrypt", "bcrypt_sha256", "pbkdf2_sha1", "pbkdf2_sha256", "scrypt"];
    let Some(text) = text(input) else { return };
    if let Ok(scheme) = password::scheme(text) {
        assert!(KNOWN.contains(&scheme) && text.len() <= 1_024);
    }
}

/// Settings of any text start or are refused. Nothing here may make them read a file.
pub fn settings(input: &[u8]) {
    let Some(text) = text(input).filter(|text| !["_FILE", "_DIR", "_PATH"].iter().any(|name| text.contains(name)))
    else {
        return;
    };
    let Ok(environment) = Environment::of_dotenv(text) else { return };
    let _ = Settings::load(&environment, Process::Api);
}
