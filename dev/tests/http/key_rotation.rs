//! Keys are changed while people are at work: two api processes, restarted one after the other, under a steady load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use doorbook_core::token::signing::{Algorithm, PrivateKey};
use doorbook_dev::{Answer, Client, Program, Stand};
use serde_json::json;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::access_tokens::{refused, signed_text, specimen, with};
use crate::common::*;

const NEXT_JWT_SECRET_KEY: &str = "Lw4mR9tK2vX7bN5cJ8hG3fD6sA1qP0zYeU";
const NEXT_SECRET_KEY: &str = "pV7nB3xK9mT2wQ6zR1jH8fD5gL4sC0yUaE9iOtX4rK7vM2qW6zN1bJ5hF8dS3lGy";
/// Pause of one person between two requests: ten a second at most.
const PAUSE: Duration = Duration::from_millis(100);

type Settings<'a> = Vec<(&'static str, &'a str)>;

/// Two api processes behind a balancer, which sends nobody to one that is being restarted.
struct Fleet {
    stand: Stand,
    processes: Vec<(String, Arc<RwLock<()>>)>,
    programs: Vec<Program>,
    next: AtomicUsize,
}

impl Fleet {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let stand = stand(settings).await;
        let (mut programs, mut processes) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let (program, base) = stand.another_api_with(settings).await.unwrap();
            programs.push(program);
            processes.push((base, Arc::default()));
        }
        Self { stand, processes, programs, next: AtomicUsize::new(0) }
    }

    /// Restarts one process after the other with these settings; requests under way are answered first.
    async fn roll(fleet: &Mutex<Vec<Program>>, shared: &Arc<Self>, settings: &[(&str, &str)]) {
        for (index, (base, lock)) in shared.processes.iter().enumerate() {
            let _away = lock.write().await;
            let mut old = fleet.lock().unwrap().remove(0);
            old.terminate().unwrap();
            assert!(old.ended(Duration::from_secs(30)).await.unwrap().success(), "{index}");
            let new = shared.stand.api_at(base, settings).await.unwrap();
            fleet.lock().unwrap().push(new);
        }
    }

    /// The address of a process, which stays up while the guard lives.
    fn any(&self) -> (String, OwnedRwLockReadGuard<()>) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed) % self.processes.len();
            let (base, lock) = &self.processes[index];
            if let Ok(guard) = Arc::clone(lock).try_read_owned() {
                return (base.clone(), guard);
            }
        }
    }

    async fn get(&self, client: &Client, path: &str) -> Answer {
        let (base, _up) = self.any();
        client.at(&base).get(path).await.unwrap()
    }

    async fn post(&self, client: &Client, path: &str, body: serde_json::Value) -> Answer {
        let (base, _up) = self.any();
        client.at(&base).post(path, body).await.unwrap()
    }

    /// Asks every process.
    async fn each_status(&self, access: &str) -> Vec<u16> {
        let mut statuses = Vec::new();
        for (base, _) in &self.processes {
            let client = client(&self.stand).with_token(access).at(base);
            statuses.push(client.get("/api/auth/profile/").await.unwrap().status);
        }
        statuses
    }

    /// Names in the key set, which every process must show alike.
    async fn published(&self) -> Vec<String> {
        let mut sets = Vec::new();
        for (base, _) in &self.processes {
            let answer = client(&self.stand).at(base).get("/.well-known/jwks.json").await.unwrap();
            assert_eq!(answer.status, 200);
            let keys = answer.body["keys"].as_array().unwrap();
            sets.push(keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>());
        }
        assert_eq!(sets[0], sets[1]);
        sets.remove(0)
    }
}

/// What people at work have met so far.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Load {
    fn note(&self, what: &str, answer: &Answer) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if answer.status != 200 {
            self.failed.lock().unwrap().push(format!("{what}: {} {}", answer.status, answer.body));
        }
    }

    /// Logs in, reads the profile and refreshes, again and again, until the work is over.
    async fn work(&self, fleet: &Fleet, email: &str) {
        while !self.over.load(Ordering::Relaxed) {
            let client = client(&fleet.stand);
            let mut tokens = fleet.post(&client, "/api/auth/login/", credentials(email, PASSWORD)).await;
            self.note("login", &tokens);
            for _ in 0..8 {
                if self.over.load(Ordering::Relaxed) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
                let signed = client.with_token(tokens.text("access"));
                self.note("profile", &fleet.get(&signed, "/api/auth/profile/").await);
                tokio::time::sleep(PAUSE).await;
                let spent = json!({ "refresh": tokens.text("refresh") });
                tokens = fleet.post(&client, "/api/auth/token/refresh/", spent).await;
                self.note("refresh", &tokens);
            }
        }
    }

    /// Waits until so many more requests were answered, and none of them, nor any before, with a failure.
    async fn go_on(&self, requests: usize) {
        let until = self.answered.load(Ordering::Relaxed) + requests;
        while self.answered.load(Ordering::Relaxed) < until {
            tokio::time::sleep(PAUSE).await;
        }
        assert_eq!(self.failed.lock().unwrap().as_slice(), &[] as &[String]);
    }
}

/// The settings of the four stages: before, the new key verifies too, the new key signs, the old key is dropped.
struct Rotation<'a> {
    stages: [Settings<'a>; 4],
    /// Names in the key set at each stage.
    published: [Vec<&'a str>; 4],
}

fn kid_of(access: &str) -> String {
    specimen(access).header["kid"].as_str().unwrap().to_owned()
}

/// Rolls a fleet under load through a rotation. `dropping` runs before the last stage. Returns sessions begun before any change
/// and after the switch, each with its tokens.
async fn rotate(rotation: &Rotation<'_>, rewrap: bool) -> (Arc<Fleet>, Vec<Answer>, Vec<Program>) {
    let mut fleet = Fleet::start(&rotation.stages[0]).await;
    let programs = Mutex::new(std::mem::take(&mut fleet.programs));
    let fleet = Arc::new(fleet);
    let load = Arc::new(Load::default());
    let mut people = Vec::new();
    for _ in 0..dose(3, 8) {
        let email = registered(&fleet.stand).await;
        let (load, fleet) = (Arc::clone(&load), Arc::clone(&fleet));
        people.push(tokio::spawn(async move { load.work(&fleet, &email).await }));
    }
    let mut sessions = Vec::new();
    for (stage, settings) in rotation.stages.iter().enumerate().take(3) {
        if stage > 0 {
            Fleet::roll(&programs, &fleet, settings).await;
        }
        let email = registered(&fleet.stand).await;
        let client = client(&fleet.stand);
        sessions.push(fleet.post(&client, "/api/auth/login/", credentials(&email, PASSWORD)).await);
        load.go_on(dose(15, 500)).await;
        assert_eq!(fleet.published().await, rotation.published[stage], "stage {stage}");
        for session in &sessions {
            assert_eq!(fleet.each_status(session.text("access")).await, [200, 200], "stage {stage}");
        }
    }
    load.over.store(true, Ordering::Relaxed);
    for person in people {
        person.await.unwrap();
    }
    assert_eq!(load.failed.lock().unwrap().as_slice(), &[] as &[String]);
    println!("figure: {} requests answered, 0 failed", load.answered.load(Ordering::Relaxed));
    if rewrap {
        let refused = fleet.stand.another_api_with(&rotation.stages[3]).await.err().map(|error| format!("{error:#}"));
        let refused = refused.unwrap();
        assert!(refused.contains("the service key for") && refused.contains("keys rewrap"), "{refused}");
        let said = fleet.stand.doorbook_with(&["keys", "rewrap"], &rotation.stages[2]).await.unwrap();
        assert!(said.contains("wrapped anew"), "{said}");
    }
    Fleet::roll(&programs, &fleet, &rotation.stages[3]).await;
    assert_eq!(fleet.published().await, rotation.published[3]);
    (fleet, sessions, programs.into_inner().unwrap())
}

/// Tokens of the dropped key are refused, those of the new one are not, and neither key may go by the other's name.
async fn only_the_new_key_counts(fleet: &Fleet, sessions: &[Answer]) -> (String, String) {
    let [before, between, after] = [0, 1, 2].map(|stage| sessions[stage].text("access").to_owned());
    assert_eq!(kid_of(&before), kid_of(&between), "a key that only verifies signs nothing");
    assert_ne!(kid_of(&before), kid_of(&after));
    assert_eq!(fleet.each_status(&before).await, [401, 401]);
    assert_eq!(fleet.each_status(&between).await, [401, 401]);
    assert_eq!(fleet.each_status(&after).await, [200, 200]);
    let swapped = |token: &str, kid: &str| {
        let mut header = specimen(token).header;
        header["kid"] = json!(kid);
        let (_, rest) = token.split_once('.').unwrap();
        format!("{}.{rest}", crate::access_tokens::encode(&header.to_string()))
    };
    let mut wire = crate::wire::Wire::open(&fleet.processes[0].0, &somewhere()).await;
    refused(&mut wire, "old token, new kid", &swapped(&before, &kid_of(&after))).await;
    refused(&mut wire, "new token, old kid", &swapped(&after, &kid_of(&before))).await;
    refused(&mut wire, "new token, unknown kid", &swapped(&after, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")).await;
    // Dropping the key of access tokens ends no session: its refresh token brings a token of the new key.
    let client = client(&fleet.stand);
    let renewed =
        fleet.post(&client, "/api/auth/token/refresh/", json!({ "refresh": sessions[0].text("refresh") })).await;
    assert_eq!((renewed.status, kid_of(renewed.text("access"))), (200, kid_of(&after)), "{renewed:?}");
    (before, after)
}

/// C040. Breaks when `core/src/token/access.rs`: `self.keys.iter().find(|key| key.kid == header.kid)?` → `self.keys.first()?`.
#[tokio::test]
async fn the_shared_secret_of_access_tokens_is_changed_without_a_failed_request() {
    let (old, new) = (("JWT_SECRET_KEY", JWT_SECRET_KEY), ("JWT_SECRET_KEY", NEXT_JWT_SECRET_KEY));
    let rotation = Rotation {
        stages: [
            vec![old],
            vec![old, ("JWT_SECRET_KEY_FALLBACKS", NEXT_JWT_SECRET_KEY)],
            vec![new, ("JWT_SECRET_KEY_FALLBACKS", JWT_SECRET_KEY)],
            vec![new],
        ],
        published: [vec![], vec![], vec![], vec![]],
    };
    let (fleet, sessions, _programs) = rotate(&rotation, false).await;
    let (before, after) = only_the_new_key_counts(&fleet, &sessions).await;
    // With the keys themselves: each signs under the other's name, and the old one under its own.
    let (old, new) = (specimen(&before), specimen(&after));
    let mut wire = crate::wire::Wire::open(&fleet.processes[1].0, &somewhere()).await;
    for (what, key, kid, genuine) in [
        ("the old key signs in the new one's name", JWT_SECRET_KEY, &new.header["kid"], false),
        ("the old key signs in its own name", JWT_SECRET_KEY, &old.header["kid"], false),
        ("the new key signs in the old one's name", NEXT_JWT_SECRET_KEY, &old.header["kid"], false),
        ("the new key signs in its own name", NEXT_JWT_SECRET_KEY, &new.header["kid"], true),
    ] {
        let header = with(&new.header, &json!({ "kid": kid })).to_string();
        let token = signed_text(hmac::HMAC_SHA256, key.as_bytes(), &header, &new.claims.to_string());
        if genuine {
            let check = wire.post("/api/auth/token/verify/", &json!({ "token": token })).await;
            assert_eq!(check.status, 200, "{what}");
        } else {
            refused(&mut wire, what, &token).await;
        }
    }
}

/// C040. Breaks when `core/src/token/access.rs`: `keys.extend(ring.public_fallbacks.iter().map(public));` → ``.
#[tokio::test]
async fn the_key_pair_of_access_tokens_is_changed_without_a_failed_request() {
    let [old, new] = [0, 1].map(|_| PrivateKey::generate(Algorithm::EdDsa).unwrap().unwrap());
    let (old_pem, new_pem) = (old.to_pem(), new.to_pem());
    let (old_public, new_public) = (old.public().to_pem(), new.public().to_pem());
    let algorithm = ("JWT_ALGORITHM", "EdDSA");
    let rotation = Rotation {
        stages: [
            vec![algorithm, ("JWT_PRIVATE_KEY", &old_pem)],
            vec![algorithm, ("JWT_PRIVATE_KEY", &old_pem), ("JWT_PUBLIC_KEY_FALLBACKS", &new_public)],
            vec![algorithm, ("JWT_PRIVATE_KEY", &new_pem), ("JWT_PUBLIC_KEY_FALLBACKS", &old_public)],
            vec![algorithm, ("JWT_PRIVATE_KEY", &new_pem)],
        ],
        published: {
            let (old, new) = (old.public().kid(), new.public().kid());
            [vec![old], vec![old, new], vec![new, old], vec![new]]
        },
    };
    let (fleet, sessions, _programs) = rotate(&rotation, false).await;
    only_the_new_key_counts(&fleet, &sessions).await;
}

/// C040. Breaks when `core/src/token/access.rs`: `keys.extend(ring.shared_fallbacks.iter().map(shared));` → ``.
#[tokio::test]
async fn a_move_from_the_shared_secret_to_a_key_pair_logs_nobody_out() {
    let new = PrivateKey::generate(Algorithm::EdDsa).unwrap().unwrap();
    let (private, public) = (new.to_pem(), new.public().to_pem());
    let pair = [("JWT_ALGORITHM", "EdDSA"), ("JWT_PRIVATE_KEY", private.as_str()), ("JWT_SECRET_KEY", "")];
    let rotation = Rotation {
        stages: [
            vec![],
            vec![("JWT_PUBLIC_KEY_FALLBACKS", &public)],
            [&pair[..], &[("JWT_SECRET_KEY_FALLBACKS", JWT_SECRET_KEY)]].concat(),
            pair.to_vec(),
        ],
        published: {
            let new = new.public().kid();
            [vec![], vec![new], vec![new], vec![new]]
        },
    };
    let (fleet, sessions, _programs) = rotate(&rotation, false).await;
    only_the_new_key_counts(&fleet, &sessions).await;
}

/// C040. Breaks when `core/src/token/keys.rs`: `std::iter::once(current).chain(fallbacks.iter().copied()).map(Root::new)` → `std::iter::once(current).map(Root::new)`.
#[tokio::test]
async fn the_secret_key_is_changed_without_a_failed_request_and_dropped_after_its_service_keys_are_wrapped_anew() {
    let (old, new) = (("SECRET_KEY", SECRET_KEY), ("SECRET_KEY", NEXT_SECRET_KEY));
    let rotation = Rotation {
        stages: [
            vec![old],
            vec![old, ("SECRET_KEY_FALLBACKS", NEXT_SECRET_KEY)],
            vec![new, ("SECRET_KEY_FALLBACKS", SECRET_KEY)],
            vec![new],
        ],
        published: [vec![], vec![], vec![], vec![]],
    };
    let (fleet, sessions, _programs) = rotate(&rotation, true).await;
    for session in &sessions {
        assert_eq!(fleet.each_status(session.text("access")).await, [200, 200], "access tokens hang on another key");
    }
    let statuses = [0, 1, 2].map(|stage| json!({ "refresh": sessions[stage].text("refresh") }));
    for (body, expected) in statuses.into_iter().zip([401, 401, 200]) {
        let answer = fleet.post(&client(&fleet.stand), "/api/auth/token/refresh/", body).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
}
