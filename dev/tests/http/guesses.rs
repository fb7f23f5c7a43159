//! Mailed tokens: spent once, and not to be guessed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbook_dev::Stand;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::common::*;
use crate::insider::Insider;

const CONFIRM: &str = "/api/auth/password/reset/confirm/";
const VERIFY: &str = "/api/auth/email/verify/";

async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND.get_or_init(|| stand(&[])).await
}

fn confirmation(token: &str, password: &str) -> Value {
    json!({ "token": token, "new_password": password, "new_password_confirm": password })
}

/// An account that has asked for a reset, and the token it was mailed.
async fn forgetful(stand: &Stand, insider: &Insider) -> (String, String) {
    let email = registered(stand).await;
    let asked = client(stand).post("/api/auth/password/reset/", json!({ "email": email })).await.unwrap();
    assert_eq!(asked.status, 202);
    let token = insider.mailed(&email, "reset").await;
    (email, token)
}

/// C041. Breaks when `core/src/service/password.rs`: `batch.write.use_token(row.token_id, now);` → `let _ = now;`.
#[tokio::test]
async fn of_fifty_confirmations_at_once_one_sets_the_password() {
    let stand = shared().await;
    let insider = Insider::of(stand).await;
    for round in 0..dose(2, 100) {
        let (email, token) = forgetful(stand, &insider).await;
        let passwords: Vec<_> = (0..50).map(|guest| format!("copper meadow {round} {guest}")).collect();
        let confirmations = passwords.iter().map(|password| {
            let (client, body) = (client(stand), confirmation(&token, password));
            async move { client.post(CONFIRM, body).await.unwrap() }
        });
        let statuses = statuses(confirmations).await;
        let winners: Vec<_> = (0..50).filter(|guest| statuses[*guest] == 204).collect();
        let [winner] = winners[..] else { panic!("{statuses:?}") };
        assert!(statuses.iter().all(|status| [204, 422].contains(status)), "{statuses:?}");
        assert_eq!(login(stand, &email, &passwords[winner]).await.status, 200, "the winner's password");
        assert_eq!(login(stand, &email, PASSWORD).await.status, 401, "the old password is dead");
        assert_eq!(login(stand, &email, &passwords[(winner + 1) % 50]).await.status, 401);
        let again = client(stand).post(CONFIRM, confirmation(&token, OTHER_PASSWORD)).await.unwrap();
        assert_eq!(faults(&again), [("token".to_owned(), "invalid_token".to_owned())]);
        assert_eq!(insider.events(&email, "PasswordReset").await, 1);
    }
}

/// C045. Breaks when `core/src/service/limits.rs`: `const BAD_TOKENS: Rule = Rule { max: 20,` → `const BAD_TOKENS: Rule = Rule { max: 2_000,`.
#[tokio::test]
async fn twenty_bad_guesses_from_one_place_are_answered_and_no_more() {
    let stand = shared().await;
    for path in [CONFIRM, VERIFY] {
        let guesser = client(stand);
        let mut bodies = Vec::new();
        for guess in 0..20_u8 {
            let token = format!("dbp_{}", URL_SAFE_NO_PAD.encode([guess; 52]));
            let body = if path == VERIFY { json!({ "token": token }) } else { confirmation(&token, OTHER_PASSWORD) };
            let answer = guesser.post(path, body).await.unwrap();
            assert_eq!(faults(&answer), [("token".to_owned(), "invalid_token".to_owned())], "guess {guess}");
            bodies.push(answer.body["detail"].clone());
        }
        let last = guesser.post(path, confirmation("dbp_x", OTHER_PASSWORD)).await.unwrap();
        assert_eq!(last.status, if path == VERIFY { 422 } else { 429 }, "{last:?}");
        let last = guesser.post(VERIFY, json!({ "token": "dbv_x" })).await.unwrap();
        assert_eq!(last.status, 429, "{last:?}");
        assert!(last.body["retry_after_seconds"].as_u64().is_some_and(|seconds| (290..=300).contains(&seconds)));
    }
}

/// C045. Breaks when `core/src/service/verify.rs`: `let made_here = opaque::verify(&self.roots, kind.purpose(), key_id, &presented, salt);` → `let made_here = !key_id.is_empty() && !salt.is_empty();`.
#[tokio::test]
async fn a_near_miss_is_refused_like_anything_else_and_the_real_token_stays_good() {
    let stand = shared().await;
    let insider = Insider::of(stand).await;
    let (email, token) = forgetful(stand, &insider).await;
    let verify = insider.mailed(&email, "verify").await;
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("dbp_").unwrap()).unwrap();
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        format!("dbp_{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    let verify_as_reset = verify.replace("dbv_", "dbp_");
    let mut refusals = Vec::new();
    for guess in [
        flipped(0),
        flipped(19),
        flipped(20),
        flipped(51),
        verify,
        verify_as_reset,
        token.to_uppercase(),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}A"),
        token[..token.len() - 1].to_owned(),
        "dbp_".to_owned(),
        "dbp_\u{0}".to_owned(),
        "x".repeat(60_000),
    ] {
        let mut wire = wire(stand).await;
        let refused = wire.post(CONFIRM, &confirmation(&guess, OTHER_PASSWORD)).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        refusals.push(refused.shown());
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    let confirmed = client(stand).post(CONFIRM, confirmation(&token, OTHER_PASSWORD)).await.unwrap();
    assert_eq!(confirmed.status, 204, "{confirmed:?}");
    assert_eq!(login(stand, &email, OTHER_PASSWORD).await.status, 200);
}
