//! Every key of settings and database with what hangs on it, so that an operator sees when an earlier one may go.

use std::collections::BTreeMap;
use std::io::Write;

use doorbook_core::audit::note::Signer;
use doorbook_core::clock::Timestamp;
use doorbook_core::service::checkpoints::signers;
use doorbook_core::store::checkpoints;
use doorbook_core::store::keys::dependants::{self, Dependants};
use doorbook_core::store::keys::{self, ServiceKeyRow};
use doorbook_core::token::access::{SigningKey, TokenKeys};
use doorbook_core::token::keys::key_id;

use crate::settings;

pub async fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let settings = settings::load()?;
    let roots = settings::roots(&settings);
    let db = settings::pool(&settings).await?;
    let service_keys = keys::list(&db).await?;
    let mut bound = dependants::all(&db).await?;
    let origin = checkpoints::origin(&db).await?;
    let own = settings.watching.checkpoints.private_key.as_ref();
    // One that cannot be unwrapped is told of below, and what it has signed with stays listed.
    let signing = signers(&db, &roots, own, &origin).await.unwrap_or_default();
    let signed = checkpoints::keys(&db).await?;
    drop(db);

    writeln!(out, "SECRET_KEY and its fallbacks")?;
    for (index, id) in roots.ids().enumerate() {
        line(out, id, place(index), &root_words(&bound.remove(id).unwrap_or_default()), index > 0)?;
    }
    if !settings.secrets.pii_keyring.is_empty() {
        writeln!(out, "PII_KEYRING")?;
        for (index, key) in settings.secrets.pii_keyring.iter().enumerate() {
            let words = root_words(&bound.remove(&key.id).unwrap_or_default());
            line(out, &key.id, if index == 0 { "wraps" } else { "unwraps" }, &words, index > 0)?;
        }
    }
    writeln!(out, "Access tokens")?;
    let minutes = settings.tokens.access_lifetime.as_secs() / 60;
    for (index, (id, algorithm)) in token_keys(&settings.secrets.tokens).iter().enumerate() {
        let place = if index == 0 { "signs" } else { "verifies" };
        let words = format!("{algorithm}; may go {minutes} minutes after it has last signed");
        line(out, id, place, &if index == 0 { (*algorithm).to_owned() } else { words }, false)?;
    }
    let wrapping: Vec<&str> = roots.wrapping_keys().map(|(id, _)| id).collect();
    writeln!(out, "Service keys")?;
    for key in &service_keys {
        service_line(out, key, &wrapping, &bound.remove(&key.key_id).unwrap_or_default())?;
    }
    checkpoint_lines(out, &signing, &signed)?;
    // Rows that name a key which nobody has any more.
    let gone: BTreeMap<_, _> = bound.into_iter().filter(|(_, words)| *words != Dependants::default()).collect();
    if !gone.is_empty() {
        writeln!(out, "Keys that are not in the settings")?;
        for (id, words) in &gone {
            line(out, id, "missing", &root_words(words), false)?;
        }
    }
    Ok(())
}

/// Public keys as `doorbook audit verify --key` takes them; those of earlier checkpoints stay.
fn checkpoint_lines(
    out: &mut impl Write,
    signing: &[Signer],
    signed: &[(String, String, Timestamp)],
) -> std::io::Result<()> {
    writeln!(out, "Checkpoints of the log")?;
    let signing: Vec<_> = signing.iter().map(|signer| signer.verifier().to_string()).collect();
    for key in &signing {
        writeln!(out, "  {key}  signs")?;
    }
    for (_, key, since) in signed.iter().filter(|(_, key, _)| !signing.contains(key)) {
        writeln!(out, "  {key}  signed, first at {}", since.to_millisecond().rfc3339())?;
    }
    Ok(())
}

const fn place(index: usize) -> &'static str {
    if index == 0 { "current" } else { "fallback" }
}

fn line(out: &mut impl Write, id: &str, place: &str, words: &str, earlier: bool) -> std::io::Result<()> {
    let verdict = match (earlier, words.is_empty()) {
        (true, true) => "nothing hangs on it: it may go",
        (false, true) => "nothing hangs on it",
        _ => words,
    };
    writeln!(out, "  {id:<16}  {place:<8}  {verdict}")
}

fn root_words(bound: &Dependants) -> String {
    let words = [
        (bound.sessions, "live sessions"),
        (bound.tokens, "mailed tokens"),
        (bound.devices, "devices"),
        (bound.service_keys, "service keys"),
        (bound.data_keys, "data keys"),
        (bound.addresses, "addresses"),
        (bound.counters, "counters of limits"),
    ];
    let words: Vec<_> =
        words.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    words.join(", ")
}

fn token_keys(ring: &TokenKeys) -> Vec<(String, &'static str)> {
    let current = match &ring.current {
        SigningKey::Shared(key) => (key_id(&key.0), "HS256"),
        SigningKey::Private(key) => (key.public().kid().to_owned(), key.public().algorithm().name()),
    };
    let shared = ring.shared_fallbacks.iter().map(|key| (key_id(&key.0), "HS256"));
    let public = ring.public_fallbacks.iter().map(|key| (key.kid().to_owned(), key.algorithm().name()));
    std::iter::once(current).chain(shared).chain(public).collect()
}

fn service_line(
    out: &mut impl Write,
    key: &ServiceKeyRow,
    wrapping: &[&str],
    bound: &Dependants,
) -> std::io::Result<()> {
    let wrapped_by = match wrapping.iter().position(|id| *id == key.wrapped_by) {
        Some(0) => "the current key",
        Some(_) => "an earlier key: run `doorbook keys rewrap`",
        None => "a key that is not in the settings",
    };
    writeln!(
        out,
        "  {:<13}  {}  {}  {:<8}  wrapped by {} ({wrapped_by}); {}",
        key.purpose,
        key.key_id,
        key.created_at.to_millisecond().rfc3339(),
        match (key.active, key.next) {
            (true, _) => "active",
            (false, true) => "next",
            (false, false) => "retired",
        },
        key.wrapped_by,
        match (root_words(bound), key.active || key.next) {
            (words, _) if !words.is_empty() => words,
            (_, true) => "nothing yet".to_owned(),
            (_, false) => "nothing hangs on it".to_owned(),
        }
    )
}
