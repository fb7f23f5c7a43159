//! Templates of an operator's own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

use std::collections::BTreeSet;
use std::fs;

use doorbook_mail::{Link, Locale, Origin, OwnWording, Recipient, Remedy, Rendered, Template};
use tempfile::TempDir;
use time::macros::datetime;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn reset() -> Template {
    let link = "https://app.example.com/reset-password?token=abc&x=<y>".parse::<url::Url>().unwrap();
    Template::Reset { link: Link::from(link), valid_hours: 2 }
}

fn changed() -> Template {
    let origin = Origin { at: datetime!(2026-11-03 23:05 -03:00), address: None, device: None };
    let page = Link::from("https://app.example.com/x".parse::<url::Url>().unwrap());
    Template::PasswordChanged { origin, remedy: Remedy::ResetPage(page) }
}

fn render(own: &OwnWording, template: &Template, locale: Locale) -> Rendered {
    own.render(template, locale, &Recipient { first_name: Some("José") }, "<Acme>").unwrap()
}

/// What is refused, or "".
fn refused(files: &[(&str, &str)]) -> String {
    OwnWording::read(folder(files).path()).err().map(|faults| faults.to_string()).unwrap_or_default()
}

#[test]
fn a_template_of_ones_own_stands_in_for_the_built_in_one_and_nothing_else_changes() {
    let files = folder(&[
        ("en/reset.subject", "New password at {{ site }}\n"),
        ("en/reset.txt", "Dear {{ name or 'friend' }}, {{ valid_hours }} hours: {{ link }}"),
        ("en/reset.html", "<h1>{{ subject }}</h1><a href=\"{{ link }}\">{{ action }}</a>"),
    ]);
    let own = OwnWording::read(files.path()).unwrap();
    let mail = render(&own, &reset(), Locale::En);
    assert_eq!(mail.subject, "New password at <Acme>");
    assert!(
        mail.text.starts_with("Dear José, 2 hours: https://app.example.com/reset-password?token=abc&x="),
        "{}",
        mail.text
    );
    assert!(mail.html.starts_with("<h1>New password at &lt;Acme&gt;</h1>"), "{}", mail.html);
    assert!(mail.html.contains("token=abc&amp;x="), "{}", mail.html);
    let built_in = OwnWording::default();
    for (template, locale) in [(reset(), Locale::Es), (changed(), Locale::En)] {
        let (mail, expected) = (render(&own, &template, locale), render(&built_in, &template, locale));
        assert_eq!((mail.subject, mail.text, mail.html), (expected.subject, expected.text, expected.html));
    }
}

#[test]
fn a_layout_is_for_every_mail_without_a_template_of_its_own() {
    let files = folder(&[
        (
            "mail.txt",
            "{{ greeting }}\n{% for p in before %}{{ p }}\n{% endfor %}{{ link }}\n{{ after|join(' ') }}\n{{ footer }}",
        ),
        ("es/reset.txt", "{{ link }}"),
        (".gitkeep", ""),
    ]);
    let own = OwnWording::read(files.path()).unwrap();
    assert!(render(&own, &reset(), Locale::En).text.starts_with("Hello José,\nSomeone, we hope you,"));
    assert!(render(&own, &changed(), Locale::Es).text.contains("https://app.example.com/x\n"));
    assert!(render(&own, &reset(), Locale::Es).text.starts_with("https://"));
    assert!(render(&own, &reset(), Locale::En).html.starts_with("<!DOCTYPE html>"));
}

fn alert() -> Template {
    let site = "https://app.example.com".parse::<url::Url>().unwrap();
    let examples = Template::examples(&site, datetime!(2026-11-03 23:05 -03:00));
    examples.into_iter().find(|example| example.name() == "security_alert").unwrap()
}

#[test]
fn operators_are_told_of_an_alert_in_their_own_words_and_in_one_language() {
    let files = folder(&[
        ("mail.html", "{{ greeting }}{% if link %}<a href=\"{{ link }}\">{{ action }}</a>{% endif %}{{ footer }}"),
        ("en/security_alert.subject", "{{ alert.severity|upper }}: {{ alert.about }}"),
        (
            "en/security_alert.txt",
            "{{ at }} {{ alert.rule }} {{ alert.count }}/{{ alert.threshold }} in {{ alert.seconds }} {{ alert.subjects[0] }} {{ alert.id }}",
        ),
    ]);
    let own = OwnWording::read(files.path()).unwrap();
    for locale in Locale::ALL {
        let mail = render(&own, &alert(), locale);
        assert_eq!(mail.subject, "WARNING: Many wrong passwords for one account");
        assert!(
            mail.text.starts_with("2026-11-04T02:05:00Z account_guessing 21/20 in 86400 Account: 0199"),
            "{}",
            mail.text
        );
        assert!(mail.html.starts_with("Hello José,Sent automatically"), "no link, no button: {}", mail.html);
    }
    assert!(refused(&[("es/security_alert.txt", "nobody is sent this")]).contains("is the part of no mail"));
    assert!(refused(&[("en/security_alert.txt", "{{ client_address }}")]).contains("undefined"));
}

#[test]
fn what_could_not_be_sent_is_refused_by_file_all_of_it_at_once() {
    let files = [
        ("en/reset.txt", "{{ link }} {{ valid_days }}"),
        ("es/reset.html", "<p>no way on</p>"),
        ("en/reset.subject", "two\nlines"),
        ("en/verify.txt", "{{ link }}{% for i in range(100000) %}{{ i }}{% endfor %}"),
        ("en/verify.html", "{{ link }}{% if %}"),
        ("en/telegram.txt", "{{ link }}"),
        ("readme.md", "hello"),
        ("fr/reset.txt", "{{ link }}"),
    ];
    let told = refused(&files);
    for (file, words) in [
        ("en/reset.txt", "undefined"),
        ("es/reset.html", "does not show the link of reset in es"),
        ("en/reset.subject", "several lines"),
        ("en/verify.txt", "fuel"),
        ("en/verify.html", "syntax error"),
        ("en/telegram.txt", "is the part of no mail"),
        ("readme.md", "is the part of no mail"),
        ("fr", "is the part of no mail"),
    ] {
        let fault = told.split("; ").find(|fault| fault.starts_with(&format!("{file} "))).unwrap_or_default();
        assert!(fault.contains(words), "{file}: {fault:?} in {told}");
    }
    assert_eq!(told.split("; ").count(), files.len(), "{told}");
    assert!(refused(&[("mail.html", "{{ link }}{{ valid_hours }}")]).contains("mail.html "), "not every mail has it");
    let told = refused(&[("mail.txt", "{{ greeting }}")]);
    assert!(told.starts_with("mail.txt does not show the link of ") && !told.contains("; "), "{told}");
    assert!(refused(&[("en/reset.txt", &format!("{{{{ link }}}}{}", "x".repeat(200_000)))]).contains("more than"));
    assert!(OwnWording::read(std::path::Path::new("/nowhere/at/all")).is_err());
}

#[test]
fn every_mail_has_an_example_and_stands_in_the_documentation() {
    let site = "https://app.example.com".parse::<url::Url>().unwrap();
    let examples: BTreeSet<_> =
        Template::examples(&site, datetime!(2026-01-01 00:00 UTC)).iter().map(Template::name).collect();
    // One snapshot a mail and language.
    let snapshots = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots")).unwrap();
    let said: BTreeSet<_> = snapshots
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.strip_prefix("wording__")?.strip_suffix("_en.snap")?.to_owned())
        })
        .collect();
    assert_eq!(examples, said.iter().map(String::as_str).collect());
    for name in examples {
        assert!(include_str!("../../docs/MAILS.md").contains(&format!("`{name}`")), "{name}");
    }
}
