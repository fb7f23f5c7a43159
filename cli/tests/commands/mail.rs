//! Mails at the command line; no worker is there, so none leaves.

use doorbook_dev::sink::Sink;

use crate::common::*;

/// Whether a run was refused with these words.
fn refused(ran: &Ran, words: &str) -> bool {
    ran.status == 1 && ran.err.contains(words)
}

#[tokio::test]
async fn an_operator_lists_reads_calls_off_and_resends_mails() {
    let house = house().await;
    let book = house.book().await;
    for address in ["ana@example.com", "ben@example.com"] {
        register(&book, address).await;
    }
    let list = house.run("mail list").await;
    assert_eq!(list.lines().count(), 2, "{list}");
    let line = list.lines().nth(1).unwrap();
    for part in ["queued", "verify", "0 tries", "ana@example.com"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(house.run("mail list --limit 1").await.lines().count(), 1);
    assert_eq!(house.run("mail list --state sent").await, "");
    let (id, _) = line.split_once(' ').unwrap();
    let order = async |what: &str, reason: &str| house.run_with(&["mail", what, id, "--reason", reason], &[], "").await;
    assert!(refused(&order("resend", "asked").await, "due already"));
    assert_eq!(order("cancel", "not her").await.status, 0);
    assert!(refused(&order("cancel", "not her").await, "outcome"));
    let again = order("resend", "it was her").await;
    assert!(again.status == 0 && again.out.contains("queued instead of it"), "{again:?}");
    let shown = house.run(&format!("mail show {id}")).await;
    for part in ["suppressed", "MailQueued", "MailSuppressed  operator", "\"words\":\"not her\"", "ana@example.com"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let newest = again.out.split(' ').nth(1).unwrap();
    assert!(shown.contains(&format!("anew as     {newest}")), "{shown}");
    let account = shown.lines().find_map(|line| line.strip_prefix("account     ")).unwrap();
    assert_eq!(house.run(&format!("mail list --account {account}")).await.lines().count(), 2);
    let nobody = house.run_with(&["mail", "show", &uuid::Uuid::nil().to_string()], &[], "").await;
    assert!(refused(&nobody, "no such mail"), "{nobody:?}");
}

// The run of the binary holds its thread; the mail server needs another.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_leaves_with_the_settings_in_force_and_the_server_s_answer_is_told() {
    let house = house().await;
    let mut sink = Sink::start(None).await.unwrap();
    let port = sink.port().to_string();
    let settings = [
        ("EMAIL_BACKEND", "smtp"),
        ("EMAIL_HOST", "127.0.0.1"),
        ("EMAIL_PORT", port.as_str()),
        ("EMAIL_USE_TLS", "False"),
    ];
    let test = async || house.run_with(&["mail", "test", "ops@example.com"], &settings, "").await;
    let ran = test().await;
    assert!(ran.status == 0 && ran.out.contains("taken: 250"), "{ran:?}");
    let mails = sink.mails();
    assert_eq!((mails.len(), mails[0].is_to("ops@example.com")), (1, true));
    sink.close().await;
    let ran = test().await;
    assert!(ran.status == 1 && ran.out.contains("fail  test mail"), "{ran:?}");
}
