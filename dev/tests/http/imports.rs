//! `doorbook import django`: from a real Django and from files, whole or with bad rows, once or in several runs.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use doorbook_dev::{Role, Stand};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::common::*;
use crate::django;
use crate::insider::Insider;

/// Of `PASSWORD`, by Django's hasher with 1,000 iterations.
const HASH: &str = "pbkdf2_sha256$1000$pinch0fsalt$IhdnMlOfIG1rYazzF4rANYVev73rUcQGXYKgZmxen3A=";
const HEADER: &str = "id,email,password,first_name,last_name,is_active,is_staff,date_joined\n";

/// Longest that an import in these tests may take.
const WITHIN: Duration = Duration::from_secs(600);

/// Runs an import to its end; its status and its report.
pub async fn import(stand: &Stand, arguments: &[&str]) -> (i32, Value) {
    let arguments = [&["import", "django", "--json"], arguments].concat();
    let mut program = stand.start_doorbook(&arguments, &[]).await.unwrap();
    let status = program.ended(WITHIN).await.unwrap();
    let log = program.log().unwrap();
    let report = log.lines().find_map(|line| serde_json::from_str(line).ok());
    (status.code().unwrap(), report.unwrap_or_else(|| panic!("no report: {log}")))
}

fn file(name: &str, text: impl AsRef<[u8]>) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A CSV file of `count` users.
pub fn csv(name: &str, count: usize) -> String {
    let row = |id| format!("{id},user{id}@example.com,{HASH},Ana,Lima,true,false,2020-01-02 03:04:05+00\n");
    file(name, HEADER.to_owned() + &(1..=count).map(row).collect::<String>())
}

async fn owner(stand: &Stand) -> PgPool {
    stand.database.pool(Role::Migrator).await.unwrap()
}

async fn number(owner: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(owner).await.unwrap()
}

/// How many rows each table has.
async fn rows(owner: &PgPool) -> Vec<(String, i64)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', table_schema, table_name) from information_schema.tables
         where table_schema in ('public', 'keys') and table_type = 'BASE TABLE' order by 1",
    )
    .fetch_all(owner)
    .await
    .unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let count = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}")));
        rows.push((table, count.fetch_one(owner).await.unwrap()));
    }
    rows
}

/// Field and rule of every refusal, behind the line or the id.
fn refusals(report: &Value, place: &str) -> HashSet<(String, String, String)> {
    let mut found = HashSet::new();
    for refused in report["refused"].as_array().unwrap() {
        for fault in refused["faults"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            found.insert((text(&refused[place]), text(&fault["field"]), text(&fault["rule"])));
        }
    }
    found
}

async fn assert_projections(stand: &Stand, accounts: usize) {
    let out = stand.doorbook(&["projections", "check"]).await.unwrap();
    assert!(out.starts_with(&format!("{accounts} accounts and ")) && out.ends_with(": 0 differences.\n"), "{out}");
}

/// C022. Breaks when `core/src/service/import/mod.rs`: `disabled: !row.active,` → `disabled: false,`.
#[tokio::test]
async fn users_of_a_real_django_log_in_with_their_old_passwords_and_are_upgraded() {
    let (url, users) = django::service(dose(203, 10_000)).await;
    let stand = stand(&[]).await;
    let insider = Insider::of(&stand).await;
    let (status, report) = import(&stand, &["--database", &url, "--map-staff", "auditor"]).await;
    assert_eq!((status, report["imported"].as_u64()), (1, Some(users.len() as u64)), "{report}");
    println!("figure: {} accounts, {} a second", users.len(), report["accounts_per_second"]);
    let rules = report["refused"].as_array().unwrap().iter().map(|refused| refused["faults"][0]["rule"].clone());
    assert_eq!(rules.collect::<Vec<_>>(), ["empty", "collision", "collision"].map(Value::from));
    assert_eq!(report["notes"]["no_password"].as_array().unwrap().len(), users.len() / 7);
    assert_projections(&stand, users.len()).await;
    let text: String =
        sqlx::query_scalar("select string_agg(payload::text, '') from events").fetch_one(&insider.owner).await.unwrap();
    assert!(!text.contains('@') && !text.contains("Ana"), "personal data is sealed");
    assert_eq!(number(&insider.owner, "select count(*) from jobs").await, 0, "nobody gets a mail");

    let mut kinds = HashSet::new();
    for user in &users {
        let may = user.active && user.kind != "unusable";
        let (client, answer) = (client(&stand), login(&stand, &user.email, &user.password).await);
        assert_eq!(answer.status, if may { 200 } else { 401 }, "{user:?}: {answer:?}");
        if !may {
            continue;
        }
        let hash = insider.stored_hash(&user.email).await;
        // One that Django made at the same cost stays.
        let phc = hash.strip_prefix("argon2").filter(|_| user.kind == "argon2").unwrap_or(&hash);
        assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{user:?} became {hash}");
        if kinds.insert(&user.kind) || user.staff {
            assert_eq!(login(&stand, &user.email, &user.password).await.status, 200, "and once more: {user:?}");
            let mapped: uuid::Uuid =
                sqlx::query_scalar("select account_id from imported_accounts where source_id = $1")
                    .bind(user.id.to_string())
                    .fetch_one(&insider.owner)
                    .await
                    .unwrap();
            assert_eq!(mapped, insider.account(&user.email).await, "who it was stays known");
            let profile = client.with_token(answer.text("access")).get("/api/auth/profile/").await.unwrap();
            assert_eq!(profile.text("first_name"), user.first_name);
            assert_eq!(profile.body["email_verified"], json!(true));
            let moment = user.joined.split('+').next().unwrap().trim_end_matches('0');
            assert!(profile.text("created_at").starts_with(moment), "{profile:?}, joined {moment}");
            assert_eq!(profile.body["roles"], if user.staff { json!(["auditor"]) } else { json!([]) });
        }
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    assert_projections(&stand, users.len()).await;
    let (status, again) = import(&stand, &["--database", &url]).await;
    assert_eq!((status, &again["imported"], &again["known"]), (1, &json!(0), &json!(users.len())));
}

/// Breaks when `core/src/service/import/mod.rs`: `_ if known.contains(&row.id) => Fate::Known,` → `_ if known.len() > rows.len() => Fate::Known,`.
#[tokio::test]
async fn an_import_that_is_killed_is_gone_on_with_and_brings_everyone_once() {
    const USERS: usize = 300;
    let path = csv("killed.csv", USERS);
    for round in 0..dose(1, 20) {
        let stand = stand(&[]).await;
        let owner = owner(&stand).await;
        let arguments = ["import", "django", "--csv", &path, "--batch", "10"];
        let pause = [("DOORBOOK_FAILPOINTS", "import.committed=pause:30")];
        let mut doomed = stand.start_doorbook(&arguments, &pause).await.unwrap();
        while number(&owner, "select count(*) from accounts").await < 20 + 10 * round {
            assert!(doomed.exited().unwrap().is_none(), "{}", doomed.log().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        doomed.kill().await.unwrap();
        let kill = [("DOORBOOK_FAILPOINTS", "import.committed=kill")];
        let mut doomed = stand.start_doorbook(&arguments, &kill).await.unwrap();
        assert!(!ended(&mut doomed).await.success(), "it was to die behind its first statement");
        let there = number(&owner, "select count(*) from accounts").await;
        assert!(there % 10 == 0 && (30..300).contains(&there), "{there}: a statement is all or nothing");

        let (status, report) = import(&stand, &["--csv", &path]).await;
        // What was under way when it died may have come to its end since.
        let [known, imported] = ["known", "imported"].map(|field| report[field].as_i64().unwrap());
        assert!(status == 0 && known + imported == 300 && (there..=there + 20).contains(&known), "{there}: {report}");
        for table in ["accounts", "account_emails", "credentials", "imported_accounts", "keys.data_keys"] {
            let sql = AssertSqlSafe(format!("select count(*) from {table}"));
            assert_eq!(sqlx::query_scalar::<_, i64>(sql).fetch_one(&owner).await.unwrap(), 300, "{table}");
        }
        assert_eq!(number(&owner, "select count(*) from events where type = 'AccountImported'").await, 300);
        assert_projections(&stand, USERS).await;
        assert_eq!(login(&stand, "user300@example.com", PASSWORD).await.status, 200);
    }
}

/// Breaks when `core/src/store/project/imports.rs`: `where e.state = 'reserved' and e.reserved_until <= {now} returning 1` → `returning 1`.
#[tokio::test]
async fn two_imports_and_a_registration_at_once_leave_one_account_an_address() {
    let (stand, path) = (stand(&[]).await, csv("twice.csv", 400));
    let owner = owner(&stand).await;
    let arguments = ["import", "django", "--csv", &path, "--batch", "20", "--json"];
    let [mut one, mut other] = [
        stand.start_doorbook(&arguments, &[]).await.unwrap(),
        stand.start_doorbook(&[&arguments[..], &["--source", "other"]].concat(), &[]).await.unwrap(),
    ];
    for id in (1..=400).rev().step_by(40) {
        try_registering(&stand, &format!("user{id}@example.com"), OTHER_PASSWORD).await;
    }
    one.ended(WITHIN).await.unwrap();
    other.ended(WITHIN).await.unwrap();
    let logs = [one.log().unwrap(), other.log().unwrap()];
    let [one, other]: [Value; 2] =
        logs.map(|log| serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}")));
    let sum = |field: &str| one[field].as_u64().unwrap() + other[field].as_u64().unwrap();
    let registered = number(&owner, "select count(*) from events where type = 'Registered'").await;
    assert_eq!(number(&owner, "select count(*) from accounts").await, 400);
    assert_eq!(i64::try_from(sum("imported")).unwrap() + registered, 400, "{one} {other}");
    assert_eq!(sum("read"), 800);
    for report in [&one, &other] {
        for (_, field, rule) in refusals(report, "id") {
            assert_eq!((field.as_str(), rule.as_str()), ("email", "taken"));
        }
    }
    assert_projections(&stand, 400).await;
}

const BAD_CSV: &str = r"1,fine@example.com,{hash},Ana,Lima,true,false,2020-01-02 03:04:05+00
2,,{hash},Ana,Lima,true,false,
3,not an address,{hash},Ana,Lima,true,false,
4,Same@example.com,{hash},Ana,Lima,true,false,
5,same@EXAMPLE.com,{hash},Ana,Lima,false,false,
6,md5@example.com,md5$salt$0123,Ana,Lima,true,false,
7,dear@example.com,pbkdf2_sha256$99000000$salt$1i/QAnmKeq8BCnbt57uxcQnk+8gLq3UakjiZ3TrXsAg=,Ana,Lima,true,false,
8,cut@example.com,bcrypt$$2b$12$short,Ana,Lima,true,false,
9,silent@example.com,{hash},Ana,Lima,,false,
10,short@example.com,{hash}
11,inactive@example.com,{hash},Ana,Lima,f,t,2020-01-02 03:04:05+00
12,none@example.com,!,Ana,Lima,t,f,
13,late@example.com,{hash},Ana,Lima,t,f,2999-01-01 00:00:00+00
ana@example.com,key@example.com,{hash},Ana,Lima,t,f,
14,twice@example.com,{hash},Ana,Lima,t,f,
14,thrice@example.com,{hash},Ana,Lima,t,f,
";

fn bad_csv(name: &str) -> String {
    file(name, HEADER.to_owned() + &BAD_CSV.replace("{hash}", HASH))
}

/// Breaks when `cli/src/import/mod.rs`: `Ok(row) if faults.is_empty() => rows.push(row),` → `Ok(row) => rows.push(row),`.
#[tokio::test]
async fn bad_rows_are_listed_with_line_and_rule_and_the_others_are_imported() {
    let (stand, path) = (stand(&[]).await, bad_csv("bad.csv"));
    let (status, report) = import(&stand, &["--csv", &path]).await;
    assert_eq!((status, &report["imported"], &report["read"]), (1, &json!(3), &json!(16)), "{report}");
    let expected = [
        ("3", "email", "empty"),
        ("4", "email", "invalid"),
        ("5", "email", "collision"),
        ("6", "email", "collision"),
        ("7", "password", "unknown_format"),
        ("8", "password", "too_costly"),
        ("9", "password", "malformed"),
        ("10", "is_active", "invalid"),
        ("11", "row", "malformed"),
        ("14", "date_joined", "out_of_range"),
        ("15", "id", "invalid"),
        ("16", "id", "repeated"),
        ("17", "id", "repeated"),
    ];
    let expected = expected.map(|(line, field, rule)| (line.to_owned(), field.to_owned(), rule.to_owned()));
    assert_eq!(refusals(&report, "line"), expected.into());
    assert_eq!(report["notes"], json!({ "no_password": ["12"], "disabled": ["11"], "staff_without_role": ["11"] }));
    assert_eq!(report["columns_missing"], json!(["is_superuser", "last_login"]));
    let told = report.to_string().replace("name@example.com", "");
    assert!(!told.contains('@'), "no address stands in a report but that of a rule: {report}");

    assert_eq!(login(&stand, "fine@example.com", PASSWORD).await.status, 200);
    assert_eq!(login(&stand, "inactive@example.com", PASSWORD).await.status, 401);
    assert_eq!(login(&stand, "none@example.com", PASSWORD).await.status, 401);
    // Whoever had no password gets one by a reset, as anybody who forgot his.
    let insider = Insider::of(&stand).await;
    client(&stand).post("/api/auth/password/reset/", json!({ "email": "none@example.com" })).await.unwrap();
    let token = insider.mailed("none@example.com", "reset").await;
    let body = json!({ "token": token, "new_password": OTHER_PASSWORD, "new_password_confirm": OTHER_PASSWORD });
    let answer = client(&stand).post("/api/auth/password/reset/confirm/", body).await.unwrap();
    assert!((200..300).contains(&answer.status), "{answer:?}");
    assert_eq!(login(&stand, "none@example.com", OTHER_PASSWORD).await.status, 200);

    let (_, report) = import(&stand, &["--csv", &path, "--drop-unreadable-passwords", "--map-staff", "admin"]).await;
    assert_eq!((&report["imported"], &report["known"]), (&json!(3), &json!(3)), "{report}");
    assert_eq!(report["notes"], json!({ "password_dropped": ["6", "7", "8"] }));
    assert_projections(&stand, 6).await;
}

/// Breaks when `cli/src/import/mod.rs`: `} else if self.options.dry_run {` → `} else if self.options.dry_run && self.options.batch == 1 {`.
#[tokio::test]
async fn a_dry_run_tells_what_would_be_and_writes_nothing() {
    let (stand, path) = (stand(&[]).await, bad_csv("dry.csv"));
    let owner = owner(&stand).await;
    registered_as(&stand, "fine@example.com", PASSWORD).await;
    let before = rows(&owner).await;
    assert!(before.len() > 60 && before.iter().any(|(table, count)| table == "public.accounts" && *count == 1));
    let (status, dry) = import(&stand, &["--csv", &path, "--dry-run"]).await;
    assert_eq!((status, &dry["dry_run"], &dry["imported"]), (1, &json!(true), &json!(2)), "{dry}");
    assert!(refusals(&dry, "line").contains(&("2".to_owned(), "email".to_owned(), "taken".to_owned())), "{dry}");
    assert_eq!(rows(&owner).await, before);

    let (_, wet) = import(&stand, &["--csv", &path]).await;
    for part in ["read", "imported", "known", "refused", "notes", "hashes"] {
        assert_eq!(wet[part], dry[part], "{part}");
    }
    assert_eq!(number(&owner, "select count(*) from accounts").await, 3);
}

/// Breaks when `core/src/service/import/row.rs`: `Verified::None => Some(false),` → `Verified::None => Some(true),`.
#[tokio::test]
async fn objects_of_a_line_with_columns_of_other_names_are_imported_and_bad_lines_are_listed() {
    let stand = stand(&[]).await;
    let row = |id: u32, mail: &str| json!({ "uid": id, "mail": mail, "password": HASH, "is_active": true, "phone": 1 });
    let mut text: Vec<u8> =
        [row(1, "one@example.com"), row(2, "Two+x@example.com")].map(|row| format!("{row}\n")).concat().into();
    text.extend(b"[]\n\n{\"uid\":\n\xff\xfe\n{\"uid\":5,\"mail\":[]}\n");
    text.extend("x".repeat(100_000).as_bytes());
    text.extend(format!("\n{}", row(9, "last@example.com")).as_bytes());
    let path = file("users.ndjson", text);
    let columns = ["--column", "id=uid", "--column", "email=mail", "--emails-verified", "none", "--source", "shop"];
    let (status, report) = import(&stand, &[&["--ndjson", &path], &columns[..]].concat()).await;
    assert_eq!((status, &report["imported"]), (1, &json!(3)), "{report}");
    let lines: HashSet<_> = refusals(&report, "line").into_iter().map(|(line, ..)| line).collect();
    assert_eq!(lines, ["3", "5", "6", "7", "8"].map(str::to_owned).into());
    assert_eq!(report["ignored"], json!(["phone"]));
    assert_eq!(report["notes"]["unverified"], json!(["1", "2", "9"]));
    let answer = login(&stand, "two+x@example.com", PASSWORD).await;
    let profile = client(&stand).with_token(answer.text("access")).get("/api/auth/profile/").await.unwrap();
    assert_eq!(profile.body["email_verified"], json!(false), "{profile:?}");
    // The same ids of another service are other people.
    let moved = file("moved.csv", format!("{HEADER}1,moved@example.com,{HASH},Ana,Lima,t,f,\n"));
    let (_, same) = import(&stand, &["--csv", &moved, "--source", "shop"]).await;
    assert_eq!((&same["known"], &same["imported"]), (&json!(1), &json!(0)), "an id stays who it was");
    let (_, other) = import(&stand, &["--csv", &moved]).await;
    assert_eq!((&other["known"], &other["imported"]), (&json!(0), &json!(1)));
    assert_projections(&stand, 4).await;
}

/// Breaks when `cli/src/import/file.rs`: `columns.note_seen(at);` → ``.
#[tokio::test]
async fn objects_that_say_whose_address_is_verified_are_believed_without_being_asked() {
    let stand = stand(&[]).await;
    let row = |id: u32, verified: bool| {
        let mail = format!("user{id}@example.com");
        let row = json!({ "id": id, "email": mail, "password": HASH, "is_active": true, "email_verified": verified });
        format!("{row}\n")
    };
    let path = file("verified.ndjson", row(1, true) + &row(2, false));
    let (status, report) = import(&stand, &["--ndjson", &path]).await;
    assert_eq!((status, &report["imported"]), (0, &json!(2)), "{report}");
    assert_eq!(report["notes"]["unverified"], json!(["2"]), "{report}");
}

#[tokio::test]
async fn a_source_that_cannot_tell_who_is_active_or_has_no_such_table_is_refused_as_a_whole() {
    let stand = stand(&[]).await;
    let path = file("silent.csv", format!("id,email,password\n1,ana@example.com,{HASH}\n"));
    let refused = async |arguments: &[&str]| {
        let mut program = stand.start_doorbook(&[&["import", "django"], arguments].concat(), &[]).await.unwrap();
        assert_eq!(program.ended(WITHIN).await.unwrap().code(), Some(1));
        program.log().unwrap()
    };
    assert!(refused(&["--csv", &path]).await.contains("is_active"));
    assert!(refused(&["--csv", &path, "--column", "email=mail"]).await.contains("no column mail"));
    assert!(refused(&["--csv", "/no/such/file"]).await.contains("/no/such/file"));
    assert!(refused(&["--database", &stand.database.url_for(Role::Migrator)]).await.contains("auth_user"));
    assert!(refused(&["--database", "sqlite:///db.sqlite3"]).await.contains("CSV"));
    let (status, report) = import(&stand, &["--csv", &path, "--column", "is_active=-"]).await;
    assert_eq!((status, &report["imported"]), (0, &json!(1)), "{report}");
}
