//! Who may do what: every operation of the OpenAPI document against every kind of caller.

use std::collections::BTreeSet;

use doorbook_dev::{Client, Stand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::access_tokens::{signed_text, specimen, with};
use crate::common::*;
use crate::insider::Insider;

/// Whom an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Everybody; what it needs is in the request.
    Anyone,
    /// Everybody who is logged in, on the own account; ids of others are nobody's.
    Owner,
    Auditor,
    Admin,
}

/// Operation, whom it is for, and what they are answered.
const OPERATIONS: [(&str, For, u16); 59] = [
    ("GET /health", For::Anyone, 200),
    ("GET /health/live", For::Anyone, 200),
    ("GET /health/ready", For::Anyone, 200),
    ("GET /.well-known/jwks.json", For::Anyone, 200),
    ("GET /api/auth/", For::Anyone, 200),
    ("GET /api/auth/password/rules/", For::Anyone, 200),
    ("POST /api/auth/register/", For::Anyone, 201),
    ("POST /api/auth/login/", For::Anyone, 200),
    ("POST /api/auth/token/refresh/", For::Anyone, 401),
    ("POST /api/auth/token/verify/", For::Anyone, 401),
    ("POST /api/auth/logout/", For::Anyone, 204),
    ("GET /api/auth/csrf/", For::Anyone, 401),
    ("POST /api/auth/password/reset/", For::Anyone, 202),
    ("POST /api/auth/password/reset/confirm/", For::Anyone, 422),
    ("POST /api/auth/email/verify/", For::Anyone, 422),
    ("POST /api/auth/email/verify/resend/", For::Anyone, 202),
    ("POST /api/auth/email/change/confirm/", For::Anyone, 422),
    ("POST /api/auth/email/change/undo/", For::Anyone, 422),
    ("POST /api/auth/profile/deletion/cancel/", For::Anyone, 422),
    ("POST /api/auth/not-me/", For::Anyone, 422),
    ("POST /api/auth/logout/all/", For::Owner, 204),
    ("GET /api/auth/profile/", For::Owner, 200),
    ("PATCH /api/auth/profile/", For::Owner, 200),
    // With a password that is not theirs: nobody of the cast is to leave.
    ("DELETE /api/auth/profile/", For::Owner, 422),
    ("POST /api/auth/password/change/", For::Owner, 204),
    ("POST /api/auth/email/change/", For::Owner, 202),
    ("GET /api/auth/sessions/", For::Owner, 200),
    ("DELETE /api/auth/sessions/{id}/", For::Owner, 204),
    ("GET /api/auth/events/", For::Owner, 200),
    ("GET /api/admin/accounts/", For::Auditor, 200),
    ("GET /api/admin/overview/", For::Auditor, 200),
    ("GET /api/admin/alerts/", For::Auditor, 200),
    // The id is an account's, and no alert's.
    ("POST /api/admin/alerts/{id}/acknowledge/", For::Auditor, 404),
    ("GET /api/admin/deliveries/", For::Auditor, 200),
    // The id is an account's, and no mail's.
    ("GET /api/admin/deliveries/{id}/", For::Auditor, 404),
    ("GET /api/admin/accounts/{id}/", For::Auditor, 200),
    ("POST /api/admin/step-up/", For::Auditor, 204),
    ("GET /api/admin/audit/events/", For::Auditor, 200),
    // From where nobody was: a stream has no end to wait for.
    ("GET /api/admin/audit/events/stream/", For::Auditor, 422),
    // Without the form of the file.
    ("GET /api/admin/audit/export/", For::Auditor, 422),
    // The worker that would have sealed its events is away.
    ("GET /api/admin/audit/accounts/{id}/state/", For::Auditor, 404),
    // Without the earlier time.
    ("GET /api/admin/audit/accounts/{id}/difference/", For::Auditor, 422),
    ("GET /api/admin/audit/accounts/{id}/refusals/", For::Auditor, 404),
    // The id is an account's, and no event's.
    ("GET /api/admin/audit/events/{id}/", For::Auditor, 404),
    ("POST /api/admin/audit/events/{id}/reveal/", For::Auditor, 404),
    ("GET /api/admin/audit/events/{id}/proof/", For::Auditor, 404),
    ("GET /api/admin/audit/checkpoints/", For::Auditor, 200),
    // Of no size.
    ("GET /api/admin/audit/checkpoints/{size}/consistency/", For::Auditor, 404),
    ("POST /api/admin/deliveries/{id}/resend/", For::Admin, 404),
    ("POST /api/admin/deliveries/{id}/cancel/", For::Admin, 404),
    ("POST /api/admin/accounts/{id}/disable/", For::Admin, 204),
    ("POST /api/admin/accounts/{id}/enable/", For::Admin, 204),
    ("POST /api/admin/accounts/{id}/unlock/", For::Admin, 204),
    ("POST /api/admin/accounts/{id}/force-reset/", For::Admin, 204),
    ("POST /api/admin/accounts/{id}/sessions/revoke/", For::Admin, 204),
    ("DELETE /api/admin/accounts/{id}/sessions/{session}/", For::Admin, 204),
    ("POST /api/admin/accounts/{id}/roles/grant/", For::Admin, 204),
    ("POST /api/admin/accounts/{id}/roles/revoke/", For::Admin, 204),
    ("POST /api/admin/accounts/{id}/erase/", For::Admin, 200),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Anonymous,
    /// The account that the request is about.
    User,
    OtherUser,
    Disabled,
    Expired,
    Auditor,
    Admin,
}

const CALLERS: [Caller; 7] = [
    Caller::Anonymous,
    Caller::User,
    Caller::OtherUser,
    Caller::Disabled,
    Caller::Expired,
    Caller::Auditor,
    Caller::Admin,
];

/// The matrix: what a caller is answered.
fn expected(operation: &str, whom: For, allowed: u16, caller: Caller) -> u16 {
    let is_for_caller = match whom {
        For::Anyone => return allowed,
        For::Owner => caller == Caller::User || !operation.contains("{id}"),
        For::Auditor => matches!(caller, Caller::Auditor | Caller::Admin),
        For::Admin => caller == Caller::Admin,
    };
    match caller {
        Caller::Anonymous | Caller::Disabled | Caller::Expired => 401,
        _ if is_for_caller => allowed,
        _ if whom == For::Owner => 404,
        _ => 403,
    }
}

/// A body that the operation accepts; `email` is the caller's.
fn body(operation: &str, email: &str) -> Option<Value> {
    let (method, path) = operation.split_once(' ').unwrap();
    let token = format!("dbp_{}", "A".repeat(70));
    Some(match path {
        _ if method == "GET" => return None,
        "/api/auth/register/" => registration(&someone(), PASSWORD),
        "/api/auth/login/" => credentials(email, PASSWORD),
        "/api/auth/token/refresh/" | "/api/auth/logout/" => json!({ "refresh": "dbr_x" }),
        "/api/auth/password/reset/" | "/api/auth/email/verify/resend/" => json!({ "email": email }),
        "/api/auth/password/reset/confirm/" => {
            json!({ "token": token, "new_password": PASSWORD, "new_password_confirm": PASSWORD })
        }
        "/api/auth/profile/" if method == "DELETE" => json!({ "password": OTHER_PASSWORD }),
        "/api/auth/profile/" => json!({ "first_name": "Ana" }),
        "/api/auth/password/change/" => {
            json!({ "current_password": PASSWORD, "new_password": PASSWORD, "new_password_confirm": PASSWORD })
        }
        "/api/auth/email/change/" => json!({ "password": PASSWORD, "new_email": someone() }),
        "/api/admin/step-up/" => json!({ "password": PASSWORD }),
        _ if path.contains("/roles/") => json!({ "role": "auditor", "reason": "a test" }),
        _ if path.starts_with("/api/admin/") => json!({ "reason": "a test" }),
        "/api/auth/logout/all/" | "/api/auth/sessions/{id}/" => return None,
        _ => json!({ "token": token }),
    })
}

/// The people of the matrix; their sessions are begun as they are needed.
struct Cast {
    stand: Stand,
    insider: Insider,
    other: String,
    auditor: String,
    admin: String,
    /// A token of an account that was disabled since, and one past its time.
    disabled: String,
    expired: String,
}

impl Cast {
    async fn new() -> Self {
        let limits = ["MAX_LOGIN_ATTEMPTS", "MAX_RESET_ATTEMPTS"].map(|name| (name, "10000"));
        let stand = stand(&limits).await;
        let (auditor, admin) = (empowered(&stand, "auditor").await, empowered(&stand, "admin").await);
        let gone = registered(&stand).await;
        let disabled = login(&stand, &gone, PASSWORD).await.text("access").to_owned();
        stand.doorbook(&["account", "disable", &gone, "--reason", "a test"]).await.unwrap();
        let expired = expired(login(&stand, &admin, PASSWORD).await.text("access"));
        let (insider, other) = (Insider::of(&stand).await, registered(&stand).await);
        Self { stand, insider, other, auditor, admin, disabled, expired }
    }

    async fn client(&self, caller: Caller, user: &Client) -> (Client, String) {
        let fixed = |token: &str| (client(&self.stand).with_token(token), someone());
        let email = match caller {
            Caller::Anonymous => return (client(&self.stand), self.other.clone()),
            Caller::Disabled => return fixed(&self.disabled),
            Caller::Expired => return fixed(&self.expired),
            Caller::User => return (user.clone(), String::new()),
            Caller::OtherUser => &self.other,
            Caller::Auditor => &self.auditor,
            Caller::Admin => &self.admin,
        };
        (logged_in(&self.stand, email).await.0, email.clone())
    }

    /// Sends one request of the matrix about a new account, and says what was wrong with the answer.
    async fn cell(&self, operation: &str, whom: For, allowed: u16, caller: Caller) -> Option<String> {
        let email = registered(&self.stand).await;
        let (user, tokens) = logged_in(&self.stand, &email).await;
        let id = self.insider.account(&email).await.to_string();
        let (client, own) = self.client(caller, &user).await;
        let own =
            if [self.other.as_str(), &self.auditor, &self.admin].contains(&own.as_str()) { own } else { email.clone() };
        let (method, path) = operation.split_once(' ').unwrap();
        let session = tokens.text("session_id");
        let target = if path.starts_with("/api/admin/") { &id } else { session };
        let path = path.replace("{id}", target).replace("{session}", session);
        let before = self.insider.lasting(&email).await;
        let method: Method = method.parse().unwrap();
        let nowhere = [("Last-Event-ID", "nowhere")];
        let answer = client.send(method, &path, body(operation, &own), &nowhere).await.unwrap();
        let expected = expected(operation, whom, allowed, caller);
        let refused = matches!(expected, 401 | 403 | 404) && expected != allowed;
        let words = match expected {
            _ if !refused => "",
            401 => "/problems/unauthorized",
            403 => "/problems/forbidden",
            _ => "/problems/not-found",
        };
        let unchanged = !refused || self.insider.lasting(&email).await == before;
        let right = answer.status == expected && unchanged && (words.is_empty() || answer.text("type") == words);
        (!right).then(|| format!("{operation} by {caller:?}: {} {}, not {expected}", answer.status, answer.body))
    }
}

/// The same token with its time in the past, signed with our own key.
fn expired(access: &str) -> String {
    let genuine = specimen(access);
    let end = genuine.claims["iat"].as_i64().unwrap() - 60;
    let claims = with(&genuine.claims, &json!({ "iat": end - 900, "nbf": end - 900, "exp": end }));
    let key = JWT_SECRET_KEY.as_bytes();
    signed_text(aws_lc_rs::hmac::HMAC_SHA256, key, &genuine.header.to_string(), &claims.to_string())
}

/// C067. Breaks when `api/src/auth.rs`: `admitted(request, bearer, Right::Administer).await` → `admitted(request, bearer, Right::Audit).await`.
#[tokio::test]
async fn every_operation_answers_every_caller_as_the_matrix_says() {
    let cast = Cast::new().await;
    let document = cast.stand.client().get("/api/openapi.json").await.unwrap().body;
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        documented
            .extend(operations.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let listed: BTreeSet<_> = OPERATIONS.iter().map(|(operation, ..)| (*operation).to_owned()).collect();
    assert_eq!(listed, documented, "the matrix has every operation of the document and no other");
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for (operation, whom, allowed) in OPERATIONS {
        for caller in CALLERS {
            wrong.extend(cast.cell(operation, whom, allowed, caller).await);
            cells += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("figure: {cells} cells of the matrix");
}

/// C067. Breaks when `core/src/service/access.rs`: `if self.may(caller, right).await? {` → `if !right.is_of(&[Role::Auditor]) || self.may(caller, right).await? {`.
#[tokio::test]
async fn a_role_counts_from_the_moment_it_is_given_to_the_moment_it_is_taken() {
    let stand = stand(&[]).await;
    let (admin, user) = (empowered(&stand, "admin").await, registered(&stand).await);
    let (admin, _) = logged_in(&stand, &admin).await;
    let (user_client, _) = logged_in(&stand, &user).await;
    let id = Insider::of(&stand).await.account(&user).await;
    let order = async |what: &str, role: &str| {
        let body = json!({ "role": role, "reason": "a test" });
        let answer = admin.post(&format!("/api/admin/accounts/{id}/roles/{what}/"), body).await.unwrap();
        assert_eq!(answer.status, 204, "{answer:?}");
    };
    // With one and the same token.
    let may = async || {
        let read = user_client.get(&format!("/api/admin/accounts/{id}/")).await.unwrap().status;
        let reason = json!({ "reason": "a test" });
        let write = user_client.post(&format!("/api/admin/accounts/{id}/enable/"), reason).await.unwrap().status;
        (read, write)
    };
    assert_eq!(may().await, (403, 403), "the first admin is made at the command line alone");
    order("grant", "auditor").await;
    assert_eq!(may().await, (200, 403));
    order("grant", "admin").await;
    assert_eq!(may().await, (200, 204));
    order("revoke", "admin").await;
    order("revoke", "auditor").await;
    assert_eq!(may().await, (403, 403));
    let denied = Insider::of(&stand).await.events(&user, "AuthorizationDenied").await;
    assert_eq!(denied, 2, "one an hour and right");
}
