//! What strangers can type must not change a message beyond its words.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

use doorbook_mail::{
    Link, Locale, MessageError, MessageId, Origin, OutgoingMail, Recipient, Rendered, Sender, Template, Transport,
};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

const NOON: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

fn sender() -> Sender {
    Sender::parse("\"Example, Accounts\" <auth@example.com>").unwrap()
}

const ORIGIN: Origin = Origin { at: NOON, address: None, device: None };

fn link() -> Link {
    Link::from("https://app.example.com/verify-email?token=abc&x=%22%3E".parse::<url::Url>().unwrap())
}

fn verify(first_name: &str, locale: Locale) -> Rendered {
    let template = Template::Verify { origin: ORIGIN, link: link(), valid_hours: 24 };
    template.render(locale, &Recipient { first_name: Some(first_name) }, "app.example.com").unwrap()
}

fn compose(recipient: &str, rendered: &Rendered) -> Result<OutgoingMail, MessageError> {
    let id = MessageId::for_delivery(Uuid::from_u128(1), &sender());
    OutgoingMail::compose(&sender(), recipient, &id, NOON, rendered)
}

/// Header lines of the message itself, folded lines joined.
fn headers(mail: &OutgoingMail) -> Vec<String> {
    let text = String::from_utf8(mail.as_bytes().to_vec()).unwrap();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    head.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect()
}

fn without_boundary(headers: &[String]) -> Vec<&String> {
    headers.iter().filter(|line| !line.starts_with("Content-Type: ")).collect()
}

fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "Ana\r\nBcc: eve@evil.example",
        "Ana\nBcc: eve@evil.example",
        "Ana\r\n\r\nbody",
        "Ana\r\n.\r\nMAIL FROM:<eve@evil.example>",
        "=?utf-8?q?Ana=0D=0ABcc:_eve@evil.example?=",
        "Ana <eve@evil.example>, Eva",
        "\"; Bcc: eve@evil.example",
        "<script>alert(1)</script>",
        "<img src=https://evil.example/x.png>",
        "\"><a href='https://evil.example'>",
        "{{ link }} {% for %} ${7*7}",
        "Ana\u{202E}elpmaxe.live",
        "Ana\u{2028}Bcc: eve@evil.example",
        "Ana\0",
        "evil.example",
        "https://evil.example/?token=1",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("A".repeat(64 * 1024));
    names.push("ñ\r\n".repeat(16 * 1024));
    names
}

#[test]
fn no_name_changes_a_header() {
    let ordinary = headers(&compose("ana@example.com", &verify("Ana", Locale::En)).unwrap());
    for name in hostile_names() {
        let mail = compose("ana@example.com", &verify(&name, Locale::En)).unwrap();
        assert_eq!(without_boundary(&headers(&mail)), without_boundary(&ordinary), "{name:?}");
        assert!(mail.as_bytes().len() < 16 * 1024);
    }
}

#[test]
fn a_hostile_name_is_left_out_of_text_and_html() {
    for locale in [Locale::En, Locale::Es] {
        let neutral = verify("", locale);
        for name in hostile_names() {
            let rendered = verify(&name, locale);
            assert_eq!((rendered.text, rendered.html), (neutral.text.clone(), neutral.html.clone()), "{name:?}");
        }
    }
}

#[test]
fn a_name_in_another_script_or_with_an_apostrophe_greets() {
    for name in ["محمد", "O'Neill", "José María", "李小龍"] {
        let rendered = verify(name, Locale::Es);
        assert!(rendered.text.starts_with(&format!("Hola, {name}:\n")));
        let mail = compose("ana@example.com", &rendered).unwrap();
        assert!(mail.as_bytes().is_ascii(), "bodies outside ASCII are encoded");
    }
    assert!(verify("O'Neill", Locale::En).html.contains("<p>Hello O&#39;Neill,</p>"));
}

#[test]
fn what_goes_into_html_is_escaped() {
    let template = Template::EmailChangeNotice {
        origin: ORIGIN,
        new_address: "<b>\"@evil<script>.example".to_owned(),
        undo: Link::from("https://app.example.com/undo?a=1&b='".parse::<url::Url>().unwrap()),
        valid_days: 7,
    };
    let html = template.render(Locale::En, &Recipient::default(), "<i>site</i>").unwrap().html;

    assert!(!html.contains("<b>") && !html.contains("<script>") && !html.contains("<i>"), "{html}");
    assert!(html.contains("href=\"https://app.example.com/undo?a=1&#38;b=%27\""), "{html}");
}

#[test]
fn only_one_plain_address_can_be_the_recipient() {
    let rendered = verify("Ana", Locale::En);
    for recipient in [
        "",
        "ana",
        "@example.com",
        "ana@",
        "ana@example.com, eve@evil.example",
        "ana@example.com eve@evil.example",
        "ana@example.com\r\nBcc: eve@evil.example",
        "ana@example.com\nRCPT TO:<eve@evil.example>",
        "Ana <ana@example.com>",
        "<ana@example.com>",
        "ana@example.com>",
        "ana@example.com;eve@evil.example",
        "\"ana\r\n\"@example.com",
        "\"a b\"@example.com",
        "\"eve@evil.example,\"@example.com",
        "ana@exam ple.com",
        "ana@example.com\0",
        " ana@example.com",
        "undisclosed:ana@example.com;",
        "ana@example.com\u{2028}",
    ] {
        assert!(matches!(compose(recipient, &rendered), Err(MessageError::Recipient)), "{recipient:?}");
    }
    let long = format!("{}@example.com", "a".repeat(64 * 1024));
    assert!(matches!(compose(&long, &rendered), Err(MessageError::Recipient)));
}

#[test]
fn the_headers_are_exactly_these() {
    let mail = compose("ana@example.com", &verify("Ana", Locale::Es)).unwrap();
    let mut lines = headers(&mail);
    let content_type = lines.pop().unwrap();

    assert_eq!(
        lines,
        [
            "From: =?utf-8?b?RXhhbXBsZSwgQWNjb3VudHM=?= <auth@example.com>",
            "To: ana@example.com",
            "Subject: Confirma tu =?utf-8?b?ZGlyZWNjacOzbg==?= de correo para app.example.com",
            "Date: Sun, 01 Mar 2026 12:00:00 +0000",
            "Message-ID: <00000000000000000000000000000001@example.com>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ]
    );
    assert!(content_type.starts_with("Content-Type: multipart/alternative;"), "{content_type}");
    let text = String::from_utf8(mail.as_bytes().to_vec()).unwrap();
    let plain = text.find("Content-Type: text/plain; charset=utf-8").unwrap();
    let html = text.find("Content-Type: text/html; charset=utf-8").unwrap();
    assert!(plain < html, "the richest part comes last");
}

#[test]
fn a_subject_cannot_bring_its_own_headers() {
    for subject in ["", "Hi\r\nBcc: eve@evil.example", "Hi\nthere", &"x".repeat(64 * 1024)] {
        let rendered = Rendered { subject: subject.to_owned(), text: "text".to_owned(), html: "html".to_owned() };
        assert!(matches!(compose("ana@example.com", &rendered), Err(MessageError::Subject)));
    }
}

#[test]
fn the_sender_is_one_mailbox() {
    for mailbox in
        ["auth@example.com", "Accounts <auth@example.com>", "<auth@example.com>", "Cuentas ñ <a@example.com>"]
    {
        assert_eq!(Sender::parse(mailbox).unwrap().domain(), "example.com");
    }
    for mailbox in [
        "",
        "Accounts",
        "a@example.com, b@example.com",
        "A <a@example.com>, B <b@example.com>",
        "A <a@example.com",
        "A\r\nBcc: x <a@example.com>",
        "A <a@example.com\r\n>",
        "\"A\" x\" <a@example.com>",
    ] {
        assert!(matches!(Sender::parse(mailbox), Err(MessageError::Sender)), "{mailbox:?}");
    }
}

#[test]
fn a_message_id_is_stable_and_survives_storage() {
    let id = MessageId::for_delivery(Uuid::from_u128(0xABC), &sender());
    assert_eq!(id, MessageId::for_delivery(Uuid::from_u128(0xABC), &sender()));
    assert_eq!(MessageId::parse(id.as_str()).unwrap(), id);
    for bad in ["", "a@b", "<a>", "<@b>", "<a@>", "<a@b>\r\nBcc: x", "<a b@c>", "<a@b@c>", "<a@b"] {
        assert!(matches!(MessageId::parse(bad), Err(MessageError::MessageId)), "{bad:?}");
    }
}

#[test]
fn a_date_the_header_cannot_say_is_an_error() {
    let rendered = verify("Ana", Locale::En);
    let id = MessageId::for_delivery(Uuid::from_u128(1), &sender());
    let before = OffsetDateTime::UNIX_EPOCH - time::Duration::SECOND;
    let result = OutgoingMail::compose(&sender(), "ana@example.com", &id, before, &rendered);
    assert!(matches!(result, Err(MessageError::Date)));
}

#[test]
fn tokens_and_addresses_are_not_in_debug_output() {
    let rendered = verify("Ana", Locale::En);
    let mail = compose("ana@example.com", &rendered).unwrap();
    let printed =
        format!("{mail:?} {:?} {:?}", link(), Template::Verify { origin: ORIGIN, link: link(), valid_hours: 1 });
    assert_eq!(
        printed,
        "OutgoingMail { message_id: \"<00000000000000000000000000000001@example.com>\", .. } Link(…) Template(verify)"
    );
}

#[tokio::test]
async fn the_folder_gets_one_finished_file_a_mail_sorted_by_time() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("made/when/needed");
    let transport = Transport::file(folder.clone());
    transport.check().await.unwrap();
    let rendered = verify("Ana", Locale::En);
    let mail_of = |delivery: u128, at| {
        let id = MessageId::for_delivery(Uuid::from_u128(delivery), &sender());
        OutgoingMail::compose(&sender(), "ana@example.com", &id, at, &rendered).unwrap()
    };
    let (early, late) = (mail_of(2, NOON), mail_of(1, NOON + time::Duration::MILLISECOND));

    // The late one first, the early one twice, as a retry would.
    for mail in [&late, &early, &early] {
        transport.send(mail).await.unwrap();
    }

    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "20260301T120000.000000Z-00000000000000000000000000000002@example.com.eml",
            "20260301T120000.001000Z-00000000000000000000000000000001@example.com.eml",
        ]
    );
    assert_eq!(std::fs::read(folder.join(&names[0])).unwrap(), early.as_bytes());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_defers() {
    let parent = tempfile::tempdir().unwrap();
    let occupied = parent.path().join("file");
    std::fs::write(&occupied, "").unwrap();
    let transport = Transport::file(occupied);

    transport.check().await.unwrap_err();
    let error = transport.send(&compose("ana@example.com", &verify("Ana", Locale::En)).unwrap()).await.unwrap_err();
    assert!(matches!(error, doorbook_mail::SendError::Deferred { .. }));
}
