//! Who is in: sessions of the console.

use std::sync::atomic::{AtomicU32, Ordering};

use doorbook_dev::{Cluster, Role, Stand};
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Response, redirect};
use serde_json::json;
use tokio::sync::OnceCell;

pub const PASSWORD: &str = "violet harbour 73";

/// A listed origin, which is not the console's own.
pub const FRONT_END: &str = "https://app.example.com";

/// An api process that all tests of this file may share.
pub async fn shared() -> &'static Stand {
    static STAND: OnceCell<Stand> = OnceCell::const_new();
    STAND
        .get_or_init(|| async {
            Stand::start_api(Cluster::shared().await.unwrap(), &[("CORS_ALLOWED_ORIGINS", FRONT_END)]).await.unwrap()
        })
        .await
}

/// The address of a new account.
pub async fn person(stand: &Stand) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let email = format!("q{number}@example.com");
    let body = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD });
    let client = stand.client().from_address(&format!("10.1.{}.{}", number / 250, number % 250));
    let answer = client.post("/api/auth/register/", body).await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    email
}

/// The address of a new account with a role.
pub async fn somebody(stand: &Stand, role: &str) -> String {
    let email = person(stand).await;
    stand.doorbook(&["account", "role", "grant", &email, role, "--reason", "a test"]).await.unwrap();
    email
}

/// A browser: its cookies, and what it says of itself.
#[derive(Clone)]
pub struct Browser {
    http: Client,
    pub base: String,
    pub cookies: Vec<(String, String)>,
}

impl Browser {
    pub fn new(stand: &Stand) -> Self {
        let http = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        Self { http, base: stand.base.clone(), cookies: Vec::new() }
    }

    pub async fn signed_in(stand: &Stand, email: &str) -> Self {
        let mut browser = Self::new(stand);
        let fields = [("email", email), ("password", PASSWORD)];
        let answer = browser.post("/admin/login/", &fields).await;
        assert_eq!((answer.status().as_u16(), to(&answer)), (303, "/admin/".to_owned()));
        browser
    }

    pub async fn get(&mut self, path: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.base));
        let answer = request.header(COOKIE, self.cookie()).send().await.unwrap();
        self.keep(&answer);
        answer
    }

    /// The same asked for by a script of a page of this origin.
    pub async fn get_from(&mut self, origin: &str, path: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.base)).header(ORIGIN, origin);
        request.header(COOKIE, self.cookie()).send().await.unwrap()
    }

    /// A form of one of our own pages.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let origin = self.base.clone();
        self.post_from(Some(&origin), path, fields).await
    }

    /// A form of a page of this origin.
    pub async fn post_from(&mut self, origin: Option<&str>, path: &str, fields: &[(&str, &str)]) -> Response {
        let form = reqwest::Url::parse_with_params(&self.base, fields).unwrap();
        let body = form.query().unwrap_or_default().to_owned();
        let mut request = self.http.post(format!("{}{path}", self.base)).header(COOKIE, self.cookie());
        request = request.header("Content-Type", "application/x-www-form-urlencoded").body(body);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let answer = request.send().await.unwrap();
        self.keep(&answer);
        answer
    }

    /// The token that stands in the forms of a page.
    pub async fn csrf(&mut self) -> String {
        let page = self.get("/admin/system/").await.text().await.unwrap();
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, answer: &Response) {
        for line in set(answer) {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(other, _)| other != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

fn set(answer: &Response) -> Vec<String> {
    answer.headers().get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
}

pub fn to(answer: &Response) -> String {
    answer.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn is_in(browser: &mut Browser) -> bool {
    browser.get("/admin/system/").await.status() == 200
}

/// C061. Breaks when `api/src/cookie.rs`: `let secure = if self.config.secure { "; Secure" } else { "" };` → `let secure = "";`.
#[tokio::test]
async fn both_cookies_are_bound_to_the_host_and_out_of_reach_for_scripts() {
    let stand = shared().await;
    let admin = somebody(stand, "admin").await;
    let mut browser = Browser::new(stand);
    let answer = browser.post("/admin/login/", &[("email", &admin), ("password", PASSWORD)]).await;
    let lines = set(&answer);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert!(line.starts_with("__Host-doorbook-console"), "{line}");
        for part in ["; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(is_in(&mut browser).await);
}

/// C067. Breaks when `api/src/console/pages/sign_in.rs`: `if let Some(held) = held` → `if let Some(held) = held.filter(|_| false)`.
/// Breaks when `api/src/console/visit.rs`: `problem == Problem::step_up_required() && !is_order => to_login(&back),` → `problem == Problem::step_up_required() && is_order => to_login(&back),`.
#[tokio::test]
async fn an_export_after_ten_minutes_asks_for_the_password_and_goes_on_from_there() {
    let stand = Stand::start_api(Cluster::shared().await.unwrap(), &[]).await.unwrap();
    let email = somebody(&stand, "admin").await;
    let mut browser = Browser::signed_in(&stand, &email).await;
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let aged = "update sessions set created_at = created_at - interval '11 minutes', stepped_up_at = stepped_up_at - interval '11 minutes'";
    sqlx::query(aged).execute(&owner).await.unwrap();
    let export = "/admin/audit/export/?format=csv";
    let asked = browser.get(export).await;
    assert_eq!(
        (asked.status().as_u16(), to(&asked)),
        (303, "/admin/login/?next=%2Fadmin%2Faudit%2Fexport%2F%3Fformat%3Dcsv".to_owned())
    );
    let fields = [("email", email.as_str()), ("password", PASSWORD), ("next", export)];
    assert_eq!(to(&browser.post("/admin/login/", &fields).await), export);
    assert_eq!(browser.get(export).await.status(), 200);
    let alive = "select count(*) from sessions where revoked_at is null";
    let alive: i64 = sqlx::query_scalar(alive).fetch_one(&owner).await.unwrap();
    assert_eq!(alive, 1, "the one before has ended");
}

/// C067. Breaks when `api/src/console/visit.rs`: `doorbook.admit(caller, Right::Audit, &context).await?;` → `let _ = doorbook.admit(caller, Right::Audit, &context).await;`.
#[tokio::test]
async fn a_role_that_is_taken_away_closes_the_console_at_once() {
    let stand = shared().await;
    let auditor = somebody(stand, "auditor").await;
    let mut browser = Browser::signed_in(stand, &auditor).await;
    assert!(is_in(&mut browser).await);
    stand.doorbook(&["account", "role", "revoke", &auditor, "auditor", "--reason", "a test"]).await.unwrap();
    let refused = browser.get("/admin/system/").await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("may not do that"));
}

/// C067. Breaks when `api/src/console/pages/sign_in.rs`: `if let Err(refused) = doorbook.admit(caller, Right::Audit, &context).await {` → `if false { let refused = doorbook_core::service::Refusal::Forbidden;`.
#[tokio::test]
async fn without_a_role_signing_in_leaves_no_session() {
    let stand = shared().await;
    let email = person(stand).await;
    let mut browser = Browser::new(stand);
    let refused = browser.post("/admin/login/", &[("email", &email), ("password", PASSWORD)]).await;
    assert_eq!(refused.status(), 403);
    assert!(set(&refused).is_empty() && browser.cookies.is_empty());
    let answer =
        stand.client().post("/api/auth/login/", json!({ "email": email, "password": PASSWORD })).await.unwrap();
    let client = stand.client().with_token(answer.text("access"));
    let sessions = client.get("/api/auth/sessions/").await.unwrap();
    assert_eq!(sessions.body["sessions"].as_array().map(Vec::len), Some(1), "{sessions:?}");
}

#[tokio::test]
async fn signing_out_ends_the_session_itself() {
    let stand = shared().await;
    let mut browser = Browser::signed_in(stand, &somebody(stand, "admin").await).await;
    let mut thief = browser.clone();
    assert!(is_in(&mut thief).await);
    let csrf = browser.csrf().await;
    let answer = browser.post("/admin/logout/", &[("csrf", &csrf)]).await;
    assert_eq!((answer.status().as_u16(), to(&answer)), (303, "/admin/login/".to_owned()));
    assert!(answer.headers().contains_key("clear-site-data"));
    assert!(browser.cookies.is_empty());
    let turned_away = thief.get("/admin/system/").await;
    assert_eq!(set(&turned_away).len(), 2, "what opens nothing any more is taken away");
    assert_eq!(to(&turned_away), "/admin/login/?next=%2Fadmin%2Fsystem%2F");
}

/// C061. Breaks when `api/src/console/visit.rs`: `None => renew(keys, &doorbook, refresh, &context).await?,` → `None => return Err(Problem::unauthorized()),`.
#[tokio::test]
async fn an_access_token_that_has_run_out_is_renewed_on_the_way_for_pages_asked_for_at_once_too() {
    let stand = shared().await;
    let mut browser = Browser::signed_in(stand, &somebody(stand, "auditor").await).await;
    // A browser forgets the cookie when the token has run out.
    browser.cookies.retain(|(name, _)| !name.ends_with("-access"));
    let pages = ["/admin/", "/admin/system/", "/admin/checkpoints/", "/admin/accounts/"];
    let asked = pages.map(|page| {
        let mut browser = browser.clone();
        tokio::spawn(async move { (browser.get(page).await.status().as_u16(), browser) })
    });
    for answer in asked {
        let (status, mut browser) = answer.await.unwrap();
        assert_eq!(status, 200);
        assert!(is_in(&mut browser).await, "whichever answer came last, its cookies are good");
    }
}

/// Breaks when `api/src/console/visit.rs`: `Err(problem) => Err(NoEntry { problem, cookies }),` → `Err(problem) => Err(NoEntry { problem, cookies: Vec::new() }),`.
#[tokio::test]
async fn tokens_that_were_renewed_reach_a_browser_that_is_not_let_in() {
    let stand = shared().await;
    let email = somebody(stand, "auditor").await;
    let mut browser = Browser::signed_in(stand, &email).await;
    stand.doorbook(&["account", "role", "revoke", &email, "auditor", "--reason", "a test"]).await.unwrap();
    browser.cookies.retain(|(name, _)| !name.ends_with("-access"));
    let answer = browser.get("/admin/").await;
    assert_eq!((answer.status().as_u16(), set(&answer).is_empty()), (403, false));
    stand.doorbook(&["account", "role", "grant", &email, "auditor", "--reason", "a test"]).await.unwrap();
    assert!(is_in(&mut browser).await, "with the tokens that came with the refusal");
}

#[tokio::test]
async fn nobody_is_sent_to_another_site_after_signing_in() {
    let stand = shared().await;
    let admin = somebody(stand, "admin").await;
    for next in
        ["//evil.example/", "https://evil.example/", "/admin\\@evil.example", "/admin/../..//evil.example", "/docs/"]
    {
        let mut browser = Browser::new(stand);
        let fields = [("email", admin.as_str()), ("password", PASSWORD), ("next", next)];
        let target = to(&browser.post("/admin/login/", &fields).await);
        assert!(target.starts_with("/admin/"), "{next}: {target}");
    }
}

#[tokio::test]
async fn style_and_script_are_kept_for_good_under_names_of_their_contents() {
    let stand = shared().await;
    let mut browser = Browser::new(stand);
    let page = browser.get("/admin/login/").await.text().await.unwrap();
    let mut found = 0;
    for part in page.split("/admin/assets/").skip(1) {
        let name = part.split('"').next().unwrap();
        let answer = browser.get(&format!("/admin/assets/{name}")).await;
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
        found += 1;
    }
    assert_eq!(found, 3, "{page}");
    assert_eq!(browser.get("/admin/assets/console-000000000000.css").await.status(), 404);
}

/// C061. Breaks when `api/src/console/visit.rs`: `let over = if is_known { keys.take_away() } else { Vec::new() };` → `let over = keys.take_away();`.
#[tokio::test]
async fn a_link_on_another_site_signs_nobody_out() {
    let stand = shared().await;
    let mut browser = Browser::signed_in(stand, &somebody(stand, "admin").await).await;
    // A browser that follows it sends no cookies.
    let linked = Browser::new(stand).get("/admin/checkpoints/").await;
    assert_eq!(to(&linked), "/admin/login/?next=%2Fadmin%2Fcheckpoints%2F");
    assert!(set(&linked).is_empty(), "{linked:?}");
    let page = browser.get(&to(&linked)).await.text().await.unwrap();
    assert!(page.contains("href=\"/admin/checkpoints/\""), "{page}");
    assert!(is_in(&mut browser).await);
}
