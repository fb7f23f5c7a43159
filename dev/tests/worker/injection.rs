//! What strangers type reaches a mail as words, or not at all.

use std::collections::HashSet;

use mail_parser::{MessageParser, MimeHeaders as _};
use serde_json::json;

use crate::common::*;

/// The headers of every mail, and no others.
const HEADERS: [&str; 8] =
    ["Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"];

/// What nobody has written but a stranger.
const CANARIES: [&str; 6] = ["eve@evil.example", "evil.example", "<script", "<img", "alert(", "{%"];

fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "Ana\r\nBcc: eve@evil.example",
        "Ana\nBcc: eve@evil.example",
        "Ana\r\n\r\n<script>alert(1)</script>",
        "Ana\r\n.\r\nMAIL FROM:<eve@evil.example>",
        "=?utf-8?q?Ana=0D=0ABcc:_eve@evil.example?=",
        "Ana <eve@evil.example>, Eva",
        "\"; Bcc: eve@evil.example",
        "<script>alert(1)</script>",
        "<img src=https://evil.example/x.png>",
        "\"><a href='https://evil.example'>",
        "{{ link }} {% for x in before %}",
        "${7*7} #{7*7} <%= 7*7 %>",
        "Ana\u{202E}elpmaxe.live",
        "\u{2067}Ana\u{2069} evil.example",
        "Ana\u{2028}Bcc: eve@evil.example",
        "https://evil.example/?token=1",
        "O'Neill",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("A".repeat(60_000));
    names
}

fn address(case: usize) -> String {
    let forms = [
        "c#@example.com",
        "c#+tag'o@example.com",
        "c#{{link}}@example.com",
        "c#{%25}&amp;@example.com",
        "c#\r\nBcc: eve@evil.example",
        "c#@example.com\r\nRCPT TO:<eve@evil.example>",
        "c#@example.com,eve@evil.example",
        "c#@example.com>,<eve@evil.example",
        "\"c# b\"@example.com",
        "Ana <c#@example.com>",
        "c#<script>@example.com",
        "c#\u{202E}@example.com",
    ];
    forms[case % forms.len()].replace('#', &case.to_string())
}

/// C092. Breaks when `mail/src/template/greeting.rs`: `(short && name.chars().all(belongs_to_a_name) && dots_end_words(name)).then_some(name)` → `Some(name)`.
#[tokio::test]
async fn nothing_that_a_stranger_types_adds_a_header_a_recipient_a_link_or_markup_to_a_mail() {
    let house = house().await;
    let _worker = house.worker().await;
    let (names, cases) = (names(), dose(48, 216));
    let mut accepted = HashSet::new();
    for case in 0..cases {
        // Hostile names with a plain address, so that they are not refused together, and hostile addresses.
        let round = case / 2;
        let email = if case % 2 == 0 { format!("c{case}@example.com") } else { address(round) };
        let name = &names[round % names.len()];
        let body = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD,
                           "first_name": name, "last_name": name });
        let answer = house.client(case).post("/api/auth/register/", body).await.unwrap();
        assert!([201, 400, 413, 422].contains(&answer.status), "{email:?}: {answer:?}");
        if answer.status == 201 {
            accepted.insert(email);
        }
    }
    house.until_settled(SOON).await;
    let mails = house.stand.sink.mails();
    println!("figure: {} of {cases} hostile registrations were taken", accepted.len());
    assert_eq!(mails.len(), accepted.len());
    assert!(accepted.len() >= cases / 8);
    for mail in mails {
        let [to] = &mail.envelope.to[..] else { panic!("{:?}", mail.envelope) };
        assert!(accepted.remove(to), "{to:?}");
        let message = MessageParser::default().parse(&*mail.raw).unwrap();
        let mut headers: Vec<_> = message.headers().iter().map(|header| header.name.as_str().to_owned()).collect();
        headers.sort();
        assert_eq!(headers, HEADERS);
        assert_eq!(message.header_raw("To").unwrap().trim(), to);
        assert_eq!(message.from().unwrap().first().unwrap().address(), Some(mail.envelope.from.as_str()));
        assert_eq!((message.text_body_count(), message.html_body_count(), message.attachment_count()), (1, 1, 0));
        let (text, html) = (message.body_text(0).unwrap(), message.body_html(0).unwrap());
        assert!(message.parts.iter().all(|part| part.attachment_name().is_none()));
        for part in [&mail.subject, &*text, &*html] {
            for canary in CANARIES {
                assert!(!part.contains(canary), "{canary}: {part}");
            }
        }
        let links = html.matches("href=").count();
        assert_eq!((links, html.matches("href=\"http://localhost").count()), (1, 1), "{html}");
    }
}
