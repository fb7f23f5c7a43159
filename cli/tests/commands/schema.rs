use std::process::Command;

use crate::common::*;

/// Runs the binary with an empty environment, where no `.env` is.
fn bare(arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbook"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).current_dir("/").output().unwrap().into()
}

#[test]
fn wrong_settings_are_all_reported_without_their_values_and_end_in_status_2() {
    let ran = bare(&["account", "list"], &[("SECRET_KEY", "canary"), ("ARGON2_TIME_COST", "canary")]);
    assert_eq!(ran.status, 2, "{ran:?}");
    for variable in ["SECRET_KEY: ", "JWT_SECRET_KEY: ", "ARGON2_TIME_COST: ", "FRONTEND_URL: "] {
        assert!(ran.err.contains(variable), "{variable} in {}", ran.err);
    }
    assert!(!ran.err.contains("canary"), "{}", ran.err);
}

#[test]
fn wrong_usage_ends_in_status_2() {
    assert_eq!(bare(&["account", "create", "ana"], &[]).status, 2);
    assert_eq!(bare(&["no-such-command"], &[]).status, 2);
    assert_eq!(bare(&[], &[]).status, 2);
}

#[test]
fn fresh_secrets_and_the_sql_of_the_roles_need_no_settings() {
    let (one, other) = (bare(&["keys", "new"], &[]), bare(&["keys", "new"], &[]));
    assert!(one.status == 0 && one.out.contains("SECRET_KEY="), "{one:?}");
    assert_ne!(one.out, other.out);
    let roles = bare(&["roles", "--sql"], &[]);
    assert!(roles.status == 0 && roles.out.contains("doorbook_shredder"), "{roles:?}");
}

#[tokio::test]
async fn migrating_and_granting_once_more_changes_nothing() {
    let house = house().await;
    let applied = house.number("select count(*) from _sqlx_migrations").await;
    house.run("migrate").await;
    house.run("roles").await;
    assert_eq!(house.number("select count(*) from _sqlx_migrations").await, applied);
}

#[tokio::test]
async fn a_migration_that_is_not_applied_is_named_and_nothing_is_changed() {
    let house = house().await;
    assert!(house.run("migrate --check").await.contains("is applied"));
    let last = house.number("select max(version) from _sqlx_migrations").await;
    sqlx::query("delete from _sqlx_migrations where version = $1").bind(last).execute(&house.owner).await.unwrap();
    let ran = house.run_with(&["migrate", "--check"], &[], "").await;
    assert_eq!(ran.status, 1, "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
    assert!(ran.out.starts_with(&format!("{last:04} ")) && ran.out.contains("doorbook migrate"), "{ran:?}");
    assert!(house.number("select max(version) from _sqlx_migrations").await < last);
    sqlx::query("drop table _sqlx_migrations").execute(&house.owner).await.unwrap();
    let ran = house.run_with(&["migrate", "--check"], &[], "").await;
    assert!(ran.status == 1 && ran.out.starts_with("0001 log "), "{ran:?}");
}

/// Answers one connection with `answer`; the URL to ask it by.
fn answering(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/health/ready", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 256];
        let read = std::io::Read::read(&mut stream, &mut head).unwrap();
        assert!(head[..read].starts_with(b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1:"));
        std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
    });
    url
}

#[test]
fn a_health_check_needs_no_settings_and_fails_unless_the_answer_is_200() {
    let well = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(bare(&["health", &well], &[]).status, 0);
    let unwell = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let ran = bare(&["health", &unwell], &[]);
    assert!(ran.status == 1 && ran.out.contains("503"), "{ran:?}");
    assert_eq!(bare(&["health", &answering("nonsense")], &[]).status, 1);
    assert_eq!(bare(&["health", "http://127.0.0.1:9/health/live"], &[]).status, 1);
}

#[tokio::test]
async fn a_database_that_is_away_is_a_failure_and_not_a_wrong_setting() {
    let house = house().await;
    let away = [("DATABASE_URL", "postgresql://doorbook:violet-harbour-73-amber@127.0.0.1:9/doorbook")];
    for command in [vec!["account", "list"], vec!["events", "tail"], vec!["jobs", "dead"], vec!["projections", "check"]]
    {
        let ran = house.run_with(&command, &away, "").await;
        assert_eq!(ran.status, 1, "{command:?}: {ran:?}");
        assert!(!ran.err.contains("violet"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_rotation_rewraps_the_service_keys_and_then_the_earlier_secret_may_go() {
    let house = house().await;
    house.book().await;
    let list = house.run("keys list").await;
    assert_eq!(list.matches("(the current key)").count(), 5, "{list}");

    let fresh = "n3Wt8Zx1Cv6Bn0Mq4Kj9Hg2Fd7Sa5Po3Iu8Yt1Re6Wq0Lk4Jm9";
    let dropped = [("SECRET_KEY", fresh)];
    let ran = house.run_with(&["account", "list"], &dropped, "").await;
    assert!(ran.status == 2 && ran.err.contains("keys rewrap"), "{ran:?}");

    let rotating = [("SECRET_KEY", fresh), ("SECRET_KEY_FALLBACKS", house.setting("SECRET_KEY"))];
    let ran = house.run_with(&["keys", "rewrap"], &rotating, "").await;
    assert!(ran.status == 0 && ran.out.starts_with("5 "), "{ran:?}");
    assert_eq!(house.run_with(&["account", "list"], &dropped, "").await.status, 0);
}
