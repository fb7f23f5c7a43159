//! Every mail in every language, word for word. After a wanted change: `INSTA_UPDATE=always cargo test`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

use std::net::{IpAddr, Ipv4Addr};

use doorbook_mail::{Device, Link, Locale, Origin, Recipient, Remedy, Template};
use time::macros::datetime;

fn link(path: &str) -> Link {
    Link::from(format!("https://app.example.com/{path}").parse::<url::Url>().unwrap())
}

fn not_me() -> Remedy {
    Remedy::NotMe { link: link("not-me?token=abc"), valid_days: 7 }
}

fn every_template() -> [Template; 20] {
    let address = Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)));
    let origin = Origin { at: datetime!(2026-11-03 23:05 -03:00), address, device: None };
    let unknown = Origin { address: None, ..origin };
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let seen = Origin { device: Device::of(firefox), ..origin };
    let odd = Origin { device: Device::of("evil.example"), ..origin };
    let new_address = "maria.lopez@example.net".to_owned();
    [
        Template::Verify { origin, link: link("verify-email?token=abc"), valid_hours: 24 },
        Template::RegistrationAttempt { origin, reset_page: link("reset-password") },
        Template::RegistrationUnverified { origin, link: link("verify-email?token=abc"), valid_hours: 24 },
        Template::Reset { link: link("reset-password?token=abc"), valid_hours: 1 },
        Template::ResetForced { link: link("reset-password?token=abc"), valid_hours: 1 },
        Template::ResetFrozen { link: link("reset-password?token=abc"), valid_hours: 1 },
        Template::PasswordChanged { origin, remedy: not_me() },
        Template::PasswordResetDone { origin: unknown, remedy: not_me() },
        Template::EmailChangeUndone { origin, remedy: Remedy::ResetPage(link("reset-password")) },
        Template::DeletionRequested { origin, cancel: link("cancel-deletion?token=abc"), valid_days: 14 },
        Template::TokenReused { origin: seen, remedy: not_me() },
        Template::LoginNewPlace { origin: seen, remedy: not_me() },
        Template::LoginAfterFailures { origin: odd, remedy: not_me() },
        Template::LoginBlocked { origin: odd, remedy: not_me() },
        Template::AccountLocked { origin: seen, remedy: not_me() },
        Template::RoleGranted { origin: unknown, role: "auditor".to_owned(), remedy: not_me() },
        Template::RoleRevoked { origin: unknown, role: "admin".to_owned(), remedy: not_me() },
        Template::EmailChangeConfirm { link: link("confirm-email?token=abc"), valid_hours: 24 },
        Template::EmailChangeNotice {
            origin,
            new_address: new_address.clone(),
            undo: link("undo-email?token=abc"),
            valid_days: 7,
        },
        Template::EmailChanged { origin, new_address, reset_page: link("reset-password") },
    ]
}

#[test]
fn every_mail_says_what_it_said_before() {
    for template in every_template() {
        for (locale, language) in [(Locale::En, "en"), (Locale::Es, "es")] {
            let mail = template.render(locale, &Recipient { first_name: Some("José") }, "app.example.com").unwrap();
            let whole = format!("{}\n=== text ===\n{}\n=== html ===\n{}", mail.subject, mail.text, mail.html);
            insta::assert_snapshot!(format!("{}_{language}", template.name()), whole);
        }
    }
}

#[test]
fn every_mail_has_its_link_once_on_a_line_of_its_own_and_nothing_remote() {
    for template in every_template() {
        for locale in [Locale::En, Locale::Es] {
            let mail = template.render(locale, &Recipient::default(), "app.example.com").unwrap();
            let links: Vec<&str> = mail.text.lines().filter(|line| line.contains("://")).collect();
            assert_eq!(links.len(), 1, "{template:?}");
            assert!(links[0].starts_with("https://app.example.com/") && !links[0].contains(' '), "{template:?}");
            for remote in ["<img", "<link", "<script", "<style", "src=", "url(", "@import"] {
                assert!(!mail.html.contains(remote), "{template:?}: {remote}");
            }
            assert!(!mail.text.contains("maria.lopez") && !mail.html.contains("maria.lopez"), "{template:?}");
        }
    }
}

#[test]
fn the_two_languages_have_nothing_but_the_facts_in_common() {
    for template in every_template() {
        let [english, spanish] = [Locale::En, Locale::Es]
            .map(|locale| template.render(locale, &Recipient::default(), "app.example.com").unwrap());
        assert_ne!(english.subject, spanish.subject);
        assert!(english.html.contains("<html lang=\"en\"") && spanish.html.contains("<html lang=\"es\""));
        let shared = |line: &&str| spanish.text.lines().any(|other| other == *line);
        let common: Vec<&str> = english.text.lines().filter(|line| !line.is_empty()).filter(shared).collect();
        assert_eq!(common.len(), 2, "link and signature mark only: {common:?}");
    }
}

#[test]
fn a_mail_about_an_alert_is_english_and_has_no_link() {
    let site = "https://app.example.com".parse::<url::Url>().unwrap();
    let mut examples = Template::examples(&site, datetime!(2026-11-03 23:05 -03:00)).into_iter();
    let alert = examples.find(|template| template.name() == "security_alert").unwrap();
    let [english, asked_in_spanish] =
        [Locale::En, Locale::Es].map(|locale| alert.render(locale, &Recipient::default(), "app.example.com").unwrap());
    assert_eq!((&english.text, &english.html), (&asked_in_spanish.text, &asked_in_spanish.html));
    assert!(!english.text.contains("://") && !english.html.contains("href"));
    let whole = format!("{}\n=== text ===\n{}\n=== html ===\n{}", english.subject, english.text, english.html);
    insta::assert_snapshot!("security_alert_en", whole);
}
