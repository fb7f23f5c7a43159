//! Mails in an operator's own words.

use std::fs;

use doorbook_dev::Cluster;

use crate::common::*;

/// Breaks when `worker/src/settings.rs`: `templates_dir.as_deref().map(OwnWording::read).transpose()?.unwrap_or_default()` → `OwnWording::default()`.
#[tokio::test]
async fn a_worker_sends_an_operator_s_own_words_and_does_not_start_with_those_it_could_not_send() {
    let house = house().await;
    let folder = Cluster::shared().await.unwrap().run().folder().join("own-wording");
    let english = folder.join("en");
    fs::create_dir_all(&english).unwrap();
    fs::write(english.join("verify.subject"), "Welcome to {{ site }}").unwrap();
    fs::write(english.join("verify.txt"), "Ahoy! {{ valid_hours }} hours: {{ link }}").unwrap();
    let own = [("MAIL_TEMPLATES_DIR", folder.to_str().unwrap())];
    let mut worker = house.launch_worker(&own).await;
    worker.ready().await;
    let registered = house.register(0).await;
    let mail = house.stand.sink.wait_for(|mail| mail.is_to(&registered.address), SOON).await.unwrap();
    assert!(mail.subject.starts_with("Welcome to "), "{}", mail.subject);
    assert!(mail.text.starts_with("Ahoy! 24 hours: http") && mail.text.contains("dbv_"), "{}", mail.text);
    assert!(String::from_utf8_lossy(&mail.raw).contains("<!DOCTYPE html>"), "the other part is the built-in one");

    fs::write(english.join("verify.txt"), "{{ lnik }}").unwrap();
    let mut refused = house.launch_worker(&own).await;
    let status = refused.program.ended(SOON).await.unwrap();
    let log = refused.program.log().unwrap();
    assert!(status.code() == Some(2) && log.contains("MAIL_TEMPLATES_DIR: en/verify.txt"), "{status}: {log}");
}

/// Breaks when `cli/src/mail/preview.rs`: `(None, Some(mail)) => mail.templates_dir.as_ref(),` → `(None, Some(_)) => None,`.
#[tokio::test]
async fn a_preview_shows_a_mail_by_the_templates_in_force_and_sends_nothing() {
    let house = house().await;
    let folder = Cluster::shared().await.unwrap().run().folder().join("preview");
    let preview = async |further: &[&str], own: bool| {
        let templates = folder.to_str().unwrap();
        let settings = [("MAIL_TEMPLATES_DIR", templates)];
        let arguments = [&["mail", "preview", "reset"], further].concat();
        house.stand.doorbook_with(&arguments, if own { &settings } else { &[] }).await
    };
    let built_in = preview(&[], false).await.unwrap();
    assert!(built_in.starts_with("Subject: ") && built_in.contains("<!DOCTYPE html>"), "{built_in}");
    assert!(built_in.contains("/reset-password?token=example-of-a-token"), "{built_in}");
    let spanish = preview(&["--locale", "es", "--text"], false).await.unwrap();
    assert!(spanish.contains("Hola, Ana") && !spanish.contains('<'), "{spanish}");

    fs::create_dir_all(folder.join("en")).unwrap();
    fs::write(folder.join("en/reset.subject"), "Ahoy {{ name }}").unwrap();
    let own = preview(&[], true).await.unwrap();
    assert!(own.starts_with("Subject: Ahoy Ana\n"), "{own}");
    let out = folder.join("out");
    let written = preview(&["--html", "--out", out.to_str().unwrap()], false).await.unwrap();
    let page = fs::read_to_string(written.trim_end()).unwrap();
    assert!(written.ends_with("en-reset.html\n") && page.contains("<html"), "{written}{page}");
    fs::remove_dir_all(&out).unwrap();

    fs::write(folder.join("en/reset.txt"), "{{ lnik }}").unwrap();
    let refused = preview(&[], true).await.unwrap_err().to_string();
    assert!(refused.contains("en/reset.txt"), "{refused}");
    assert!(house.stand.sink.mails().is_empty());
}
