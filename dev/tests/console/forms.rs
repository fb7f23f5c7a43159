//! What the forms of the console do, and for whom.

use doorbook_dev::{Role, Stand};

use crate::session::{Browser, FRONT_END, PASSWORD, person, shared, somebody, to};

/// The id of an account.
async fn id_of(stand: &Stand, email: &str) -> String {
    let listed = stand.doorbook(&["account", "list"]).await.unwrap();
    let line = listed.lines().find(|line| line.contains(email)).expect("the account is listed");
    line.split_whitespace().find(|word| uuid::Uuid::parse_str(word).is_ok()).expect("its id").to_owned()
}

async fn status_of(stand: &Stand, email: &str) -> String {
    let listed = stand.doorbook(&["account", "list"]).await.unwrap();
    listed.lines().find(|line| line.contains(email)).expect("the account is listed").to_owned()
}

/// C061, C067. Breaks when `api/src/console/visit.rs`: `doorbook.check_csrf(&refresh, csrf, &context).await?;` → `let _ = csrf;`.
#[tokio::test]
async fn a_form_counts_only_with_the_token_of_its_own_session_and_from_our_own_origin() {
    let stand = shared().await;
    let (admin, victim) = (somebody(stand, "admin").await, person(stand).await);
    let path = format!("/admin/accounts/{}/disable/", id_of(stand, &victim).await);
    let mut browser = Browser::signed_in(stand, &admin).await;
    let csrf = browser.csrf().await;
    let foreign = Browser::signed_in(stand, &admin).await.csrf().await;
    let own = browser.base.clone();
    for (origin, fields) in [
        (Some(own.as_str()), vec![("reason", "x")]),
        (Some(&own), vec![("reason", "x"), ("csrf", "dbc_nonsense")]),
        (Some(&own), vec![("reason", "x"), ("csrf", &foreign)]),
        (Some("https://evil.example"), vec![("reason", "x"), ("csrf", &csrf)]),
        (Some(FRONT_END), vec![("reason", "x"), ("csrf", &csrf)]),
        (Some("null"), vec![("reason", "x"), ("csrf", &csrf)]),
        (None, vec![("reason", "x"), ("csrf", &csrf)]),
    ] {
        let refused = browser.post_from(origin, &path, &fields).await;
        assert_eq!(refused.status(), 403, "{origin:?} {fields:?}");
    }
    assert!(status_of(stand, &victim).await.contains("active"));
    let done = browser.post(&path, &[("reason", "asked for"), ("csrf", &csrf)]).await;
    assert_eq!(done.status(), 303, "{done:?}");
    assert!(to(&done).ends_with("?done=disable"));
    assert!(status_of(stand, &victim).await.contains("disabled"));
}

/// C050. Breaks when `api/src/middleware/cors.rs`: `if paths::is_console(path) { None } else { self.listed(headers) }` → `{ let _ = path; self.listed(headers) }`.
#[tokio::test]
async fn scripts_of_a_listed_front_end_read_nothing_of_the_console() {
    let stand = shared().await;
    let mut browser = Browser::signed_in(stand, &somebody(stand, "admin").await).await;
    for path in ["/admin/", "/admin/system/", "/admin/audit/export/?format=csv"] {
        let answer = browser.get_from(FRONT_END, path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(
            answer.headers().keys().all(|name| !name.as_str().starts_with("access-control-")),
            "{path}: {answer:?}"
        );
    }
    let answer = browser.get_from(FRONT_END, "/api/auth/").await;
    assert_eq!(answer.headers().get("access-control-allow-origin").unwrap(), FRONT_END, "the API is for it");
}

/// C067. Breaks when `api/src/console/pages/account.rs`: `visit.doorbook.admit(visit.caller, Right::Administer, &visit.context).await?;` → `let _ = Right::Administer;`.
#[tokio::test]
async fn an_auditor_gives_no_orders() {
    let stand = shared().await;
    let (auditor, victim) = (somebody(stand, "auditor").await, person(stand).await);
    let id = id_of(stand, &victim).await;
    let mut browser = Browser::signed_in(stand, &auditor).await;
    let csrf = browser.csrf().await;
    for order in
        ["disable", "enable", "unlock", "force-reset", "revoke-sessions", "grant-role", "end-session", "nonsense"]
    {
        let fields = [("reason", "x"), ("csrf", csrf.as_str()), ("role", "admin"), ("session", &id)];
        let refused = browser.post(&format!("/admin/accounts/{id}/{order}/"), &fields).await;
        assert_eq!(refused.status(), 403, "{order}");
    }
    assert!(status_of(stand, &victim).await.contains("active"));
}

/// C067. Breaks when `api/src/console/pages/mail.rs`: `visit.doorbook.admit(visit.caller, Right::Administer, &visit.context).await?;` → `let _ = Right::Administer;`.
#[tokio::test]
async fn a_mail_is_called_off_and_sent_anew_by_admins_alone() {
    let stand = shared().await;
    let (auditor, admin) = (somebody(stand, "auditor").await, somebody(stand, "admin").await);
    let id = id_of(stand, &person(stand).await).await;
    let (mut auditor, mut admin) = (Browser::signed_in(stand, &auditor).await, Browser::signed_in(stand, &admin).await);
    let list = format!("/admin/mails/?account={id}&state=queued");
    let page = auditor.get(&list).await.text().await.unwrap();
    let link = page.split("href=\"").find(|link| link.starts_with("/admin/mails/0")).expect("its mail is listed");
    let path = link.split('"').next().unwrap().to_owned();
    let seen = auditor.get(&path).await.text().await.unwrap();
    assert!(seen.contains("MailQueued") && !seen.contains("Actions"), "{seen}");
    let csrf = auditor.csrf().await;
    for order in ["resend", "cancel", "nonsense"] {
        let refused = auditor.post(&format!("{path}{order}/"), &[("reason", "x"), ("csrf", &csrf)]).await;
        assert_eq!(refused.status(), 403, "{order}");
    }
    let csrf = admin.csrf().await;
    let unexplained = admin.post(&format!("{path}cancel/"), &[("csrf", &csrf)]).await;
    assert_eq!(unexplained.status(), 422);
    let done = admin.post(&format!("{path}cancel/"), &[("reason", "<b>not him</b>"), ("csrf", &csrf)]).await;
    assert_eq!((done.status().as_u16(), to(&done)), (303, format!("{path}?done=cancel")));
    let page = admin.get(&path).await.text().await.unwrap();
    assert!(page.contains("MailSuppressed") && page.contains("&lt;b&gt;not him&lt;/b&gt;"), "{page}");
    let late = admin.post(&format!("{path}cancel/"), &[("reason", "again"), ("csrf", &csrf)]).await;
    assert_eq!(late.status(), 409);
    let anew = admin.post(&format!("{path}resend/"), &[("reason", "it was him"), ("csrf", &csrf)]).await;
    assert_eq!(anew.status(), 303);
    assert!(to(&anew).ends_with("?done=resend") && !to(&anew).starts_with(&path), "another mail is shown");
}

/// C067. Breaks when `core/src/service/admin/step_up.rs`: `if sessions::is_fresh(&self.db, caller.session, STEP_UP_LIFETIME).await? {` → `if true {`.
#[tokio::test]
async fn a_dangerous_order_asks_for_the_password_when_the_login_is_old_and_then_goes_through() {
    let stand = shared().await;
    let (admin, victim) = (somebody(stand, "admin").await, person(stand).await);
    let path = format!("/admin/accounts/{}/grant-role/", id_of(stand, &victim).await);
    let mut browser = Browser::signed_in(stand, &admin).await;
    let csrf = browser.csrf().await;
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let aged = "update sessions set created_at = created_at - interval '1 hour' where account_id = $1";
    let admin: uuid::Uuid = id_of(stand, &admin).await.parse().unwrap();
    sqlx::query(aged).bind(admin).execute(&owner).await.unwrap();
    let order = [("reason", "a helper"), ("csrf", csrf.as_str()), ("role", "auditor")];
    let asked = browser.post(&path, &order).await;
    assert_eq!(asked.status(), 403);
    let page = asked.text().await.unwrap();
    for carried in ["name=\"reason\" value=\"a helper\"", "name=\"role\" value=\"auditor\"", "type=\"password\""] {
        assert!(page.contains(carried), "{carried}: {page}");
    }
    let wrong = browser.post(&path, &[&order[..], &[("password", "not it at all")]].concat()).await;
    assert_eq!(wrong.status(), 422);
    assert!(!wrong.text().await.unwrap().contains("not it at all"));
    assert!(!status_of(stand, &victim).await.contains("auditor"));
    let done = browser.post(&path, &[&order[..], &[("password", PASSWORD)]].concat()).await;
    assert_eq!(done.status(), 303, "{done:?}");
    assert!(status_of(stand, &victim).await.contains("auditor"));
}

/// C048. Breaks when `api/src/console/visit.rs`: `headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);` → `let _ = POLICY;`.
#[tokio::test]
async fn every_page_allows_its_own_style_and_scripts_and_nothing_else() {
    let stand = shared().await;
    let mut browser = Browser::signed_in(stand, &somebody(stand, "admin").await).await;
    let paths = [
        "",
        "login/",
        "accounts/",
        "mails/",
        "audit/",
        "audit/?address=x",
        "audit/live/",
        "checkpoints/",
        "system/",
        "nowhere/",
    ];
    for path in paths {
        let answer = browser.get(&format!("/admin/{path}")).await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
        let page = answer.text().await.unwrap();
        for inline in ["style=", "onclick=", "<style", "<script>", "javascript:"] {
            assert!(!page.contains(inline), "{path} has {inline}");
        }
    }
}

#[tokio::test]
async fn what_is_written_into_a_field_comes_back_as_text() {
    let stand = shared().await;
    let mut browser = Browser::new(stand);
    let attack = "\"><script>alert(1)</script>@example.com";
    let refused = browser.post("/admin/login/", &[("email", attack), ("password", PASSWORD)]).await;
    assert_eq!(refused.status(), 401);
    let page = refused.text().await.unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>alert"), "{page}");
}

/// Breaks when `api/src/console/pages/alerts.rs`: `        _ => Some(false),` → `        _ => None,`.
#[tokio::test]
async fn an_alert_leaves_the_list_of_open_ones_when_somebody_has_said_what_came_of_it() {
    let stand = shared().await;
    let raised = r#"with a as (select uuid7_floor(clock_timestamp()) as id), s as (
                        insert into streams (stream_id, kind, version) select id, 'security', 1 from a
                    ), e as (
                        insert into events (event_id, retention_class, stream_id, version, type, payload, actor_kind)
                        select id, 'keep', id, 1, 'SecurityAlertRaised',
                            '{"rule": "login_surge", "severity": "warning", "evidence": {"count": 120, "threshold": 100, "seconds": 900}}', 'system' from a
                    ) insert into alerts (alert_id, rule, severity) select id, 'login_surge', 'warning' from a returning alert_id"#;
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let id: uuid::Uuid = sqlx::query_scalar(raised).fetch_one(&owner).await.unwrap();
    let id = id.to_string();
    let mut browser = Browser::signed_in(stand, &somebody(stand, "auditor").await).await;
    for path in ["/admin/", "/admin/alerts/"] {
        let page = browser.get(path).await.text().await.unwrap();
        assert!(page.contains("Far more failed logins than usual") && page.contains(&id), "{page}");
    }
    let csrf = browser.csrf().await;
    let path = format!("/admin/alerts/{id}/acknowledge/");
    assert_eq!(browser.post(&path, &[("csrf", &csrf)]).await.status(), 422, "without a word");
    let done = browser.post(&path, &[("csrf", &csrf), ("reason", "a load test of ours")]).await;
    assert_eq!((done.status().as_u16(), to(&done)), (303, "/admin/alerts/".to_owned()));
    assert!(!browser.get("/admin/alerts/").await.text().await.unwrap().contains(&id));
    let page = browser.get("/admin/alerts/?acknowledged=true&rule=login_surge").await.text().await.unwrap();
    assert!(page.contains(&id) && page.contains("a load test of ours"), "{page}");
}

/// Breaks when `api/src/console/pages/mails.rs`: `Audience::Webhook => html! { code { "ALERT_WEBHOOK_URL" } },` → `Audience::Webhook => html! {},`.
#[tokio::test]
async fn what_is_posted_about_an_alert_stands_among_the_mails_without_an_account() {
    let stand = shared().await;
    let posted = "with d as (select uuid7_floor(clock_timestamp()) as id), s as (
                      insert into streams (stream_id, kind, version) select id, 'notification', 1 from d
                  ) insert into deliveries (delivery_id, event_id, template, recipient, state, created_at)
                  select id, id, 'security_alert', 'webhook', 'failed', clock_timestamp() from d returning delivery_id";
    let owner = stand.database.pool(Role::Migrator).await.unwrap();
    let id: uuid::Uuid = sqlx::query_scalar(posted).fetch_one(&owner).await.unwrap();
    let mut browser = Browser::signed_in(stand, &somebody(stand, "auditor").await).await;
    for path in ["/admin/mails/?template=security_alert".to_owned(), format!("/admin/mails/{id}/")] {
        let page = browser.get(&path).await.text().await.unwrap();
        assert!(page.contains(&id.to_string()) && page.contains("ALERT_WEBHOOK_URL"), "{page}");
        assert!(!page.contains("the mailbox is gone"), "{page}");
    }
}
