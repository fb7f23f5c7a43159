use crate::common::*;

#[tokio::test]
async fn an_account_made_with_a_printed_password_can_log_in() {
    let house = house().await;
    let out = house.run("account create Ana@Example.com --role admin").await;
    let printed = out.lines().find_map(|line| line.strip_prefix("password ")).unwrap();
    let printed = printed.strip_suffix(" (shown this once)").unwrap();
    login(&house.book().await, "ana@example.com", printed).await.unwrap();

    let list = house.run("account list").await;
    assert_eq!(list.lines().count(), 1, "{list}");
    for part in ["active", "verified", "admin", "Ana@example.com"] {
        assert!(list.contains(part), "{part} in {list}");
    }
    assert_eq!(house.number("select count(*) from events where actor_kind = 'operator'").await, 3);
}

#[tokio::test]
async fn a_piped_password_is_taken_as_it_is_and_shown_nowhere() {
    let house = house().await;
    let arguments = ["account", "create", "ana@example.com", "--password-stdin"];
    let ran = house.run_with(&arguments, &[], &format!("{PASSWORD}\n")).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(!ran.out.contains(PASSWORD) && !ran.err.contains(PASSWORD));
    login(&house.book().await, "ana@example.com", PASSWORD).await.unwrap();

    let again = house.run_with(&arguments, &[], PASSWORD).await;
    assert_eq!(again.status, 1);
    assert!(again.err.contains("belongs to an account"), "{again:?}");
}

#[tokio::test]
async fn a_password_that_breaks_a_rule_is_refused_with_the_rule() {
    let house = house().await;
    let ran = house.run_with(&["account", "create", "ana@example.com", "--password-stdin"], &[], "12345678\n").await;
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("password:") && !ran.err.contains("12345678"), "{ran:?}");
    assert_eq!(house.number("select count(*) from accounts").await, 0);
}

#[tokio::test]
async fn changes_are_made_once_and_say_so() {
    let house = house().await;
    let book = house.book().await;
    register(&book, "ana@example.com").await;
    let tokens = login(&book, "ana@example.com", PASSWORD).await.unwrap();

    assert!(house.run("account role grant ana@example.com auditor --reason audit").await.contains("done"));
    assert!(house.run("account role grant ana@example.com auditor --reason audit").await.contains("already"));
    assert!(house.run("account role revoke ana@example.com auditor --reason over").await.contains("done"));
    assert!(house.run("account revoke-sessions ana@example.com --reason stolen").await.contains("done"));
    assert!(book.authenticate(&tokens.access).await.is_err());
    assert!(house.run("account disable ana@example.com --reason abuse").await.contains("done"));
    assert!(login(&book, "ana@example.com", PASSWORD).await.is_err());
    assert!(house.run("account enable ana@example.com --reason appeal").await.contains("done"));
    assert!(house.run("account unlock ana@example.com --reason asked").await.contains("already"));
    login(&book, "ana@example.com", PASSWORD).await.unwrap();
    assert!(house.run("account force-reset ana@example.com --reason stolen").await.contains("done"));
    assert!(login(&book, "ana@example.com", PASSWORD).await.is_err());
}

#[tokio::test]
async fn an_address_without_account_is_a_failure() {
    let house = house().await;
    let ran = house.run_with(&["account", "disable", "bo@example.com", "--reason", "x"], &[], "").await;
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("no account has the address bo@example.com"), "{ran:?}");
}
