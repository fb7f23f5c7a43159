//! Requests that proxy and api could read differently: each is answered once, and none hides another.

use std::time::{Duration, Instant};

use doorbook_dev::proxy::Front;

use crate::common::*;

/// Silence after which no more answers are expected.
const SILENCE: Duration = Duration::from_millis(400);

/// What an attacker would like the api to see. No honest request asks for it.
const HIDDEN: &str = "/smuggled";

/// Framings on which two readers may disagree: name, headers, body. `{H}` is a whole hidden request.
fn framings() -> Vec<(&'static str, String, String)> {
    let hidden = format!("GET {HIDDEN}-00- HTTP/1.1\r\nHost: {HOST}\r\nX-Ignore: ");
    let whole = format!("GET {HIDDEN}-00- HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let closed = format!("0\r\n\r\n{hidden}");
    let (long, short) = (closed.len(), 4);
    let both = |te: &str| (format!("Content-Length: {long}\r\n{te}\r\n"), closed.clone());
    let mut framings = Vec::new();
    for (name, te) in [
        ("length and coding", "Transfer-Encoding: chunked"),
        ("a space before the colon", "Transfer-Encoding : chunked"),
        ("a tab before the value", "Transfer-Encoding:\tchunked"),
        ("a vertical tab", "Transfer-Encoding:\u{b}chunked"),
        ("quoted", "Transfer-Encoding: \"chunked\""),
        ("another word first", "Transfer-Encoding: identity, chunked"),
        ("another word last", "Transfer-Encoding: chunked, identity"),
        ("a comma", "Transfer-Encoding: ,chunked"),
        ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("twice, differing", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
        ("another case", "tRANSFER-eNCODING: CHUNKED"),
        ("an underscore", "Transfer_Encoding: chunked"),
        ("folded", "Transfer-Encoding:\r\n chunked"),
        ("folded name", "X: y\r\n Transfer-Encoding: chunked"),
        ("a bare LF before", "X: y\nTransfer-Encoding: chunked"),
        ("a bare CR before", "X: y\rTransfer-Encoding: chunked"),
        ("a NUL", "Transfer-Encoding: chunked\0"),
        ("a long word", "Transfer-Encoding: xchunked"),
        ("cow", "Transfer-Encoding: cow"),
    ] {
        let (headers, body) = both(te);
        framings.push((name, headers, body));
    }
    let chunk = format!("{:x}\r\n{whole}\r\n0\r\n\r\n", whole.len());
    framings.push((
        "coding and a short length",
        format!("Content-Length: {short}\r\nTransfer-Encoding: chunked\r\n"),
        chunk,
    ));
    for (name, lengths) in [
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: {}\r\n", whole.len())),
        ("two lengths, turned", format!("Content-Length: {}\r\nContent-Length: 0\r\n", whole.len())),
        ("a list of lengths", format!("Content-Length: 0, {}\r\n", whole.len())),
        ("a signed length", format!("Content-Length: +{}\r\n", whole.len())),
        ("a negative length", "Content-Length: -1\r\n".to_owned()),
        ("an octal length", format!("Content-Length: 0{}\r\n", whole.len())),
        ("a hexadecimal length", format!("Content-Length: {:#x}\r\n", whole.len())),
        ("a space in the length", "Content-Length: 1 0\r\n".to_owned()),
        ("an overflowing length", "Content-Length: 18446744073709551616\r\n".to_owned()),
        ("a length with an underscore", format!("Content_Length: {}\r\nContent-Length: 0\r\n", whole.len())),
        (
            "a length that Connection names",
            format!("Connection: Content-Length\r\nContent-Length: {}\r\n", whole.len()),
        ),
    ] {
        framings.push((name, lengths, whole.clone()));
    }
    for (name, size) in [
        ("an extension with a line end", "0;\n\r\n\r\n"),
        ("a size with a bare LF", "0\n\n"),
        ("a size with spaces", "0 \r\n\r\n"),
        ("a signed size", "+0\r\n\r\n"),
        ("a size with 0x", "0x0\r\n\r\n"),
        ("an overflowing size", "10000000000000000\r\n\r\n"),
        ("trailers", "0\r\nContent-Length: 50\r\nHost: evil.example\r\n\r\n"),
    ] {
        framings.push((name, "Transfer-Encoding: chunked\r\n".to_owned(), format!("{size}{whole}")));
    }
    framings
}

/// Sends every framing through one proxy.
async fn try_all(front: Front) {
    let site = Site::start(front, &[]).await;
    let mut traces = 0_u32;
    for (number, (name, headers, body)) in framings().into_iter().enumerate() {
        let hidden = format!("{HIDDEN}-{number}-");
        let body = body.replace(&format!("{HIDDEN}-00-"), &hidden);
        let head = format!("POST /api/auth/login/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n");
        let mut line = site.https().await;
        line.send(format!("{head}{headers}\r\n{body}").as_bytes()).await;
        let answers = line.answers(SILENCE).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert!(statuses.iter().all(|status| *status >= 400), "{front:?} {name}: {statuses:?}");
        assert!(statuses.len() <= 2, "{front:?} {name}: {statuses:?}");
        drop(line);
        // Whoever comes next over the proxy's kept connections gets the answer to the own question.
        for path in ["/api/auth/", "/api/auth/password/rules/", "/health"] {
            traces += 1;
            let trace = format!("{traces:032x}");
            let header = format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\n");
            let next = site.ask("GET", path, &header, "").await;
            assert_eq!((next.status, next.trace()), (200, trace.as_str()), "{front:?} after {name}: {next:?}");
        }
        // Two requests one after the other are no secret: both are answered. One that only the api saw would be.
        let seen = site.stand.api.log().unwrap().matches(&hidden).count();
        let told = answers.iter().filter(|answer| answer.status == 404).count();
        assert_eq!(seen, told, "{front:?} {name}: what the api was asked, and what the client was told: {statuses:?}");
    }
}

/// C060. Breaks when `deploy/haproxy/doorbook.cfg`: `http-request set-header X-Forwarded-Proto https if { ssl_fc }` → `http-request set-header X-Forwarded-Proto http if { ssl_fc }`.
#[tokio::test]
async fn no_request_hides_in_another_and_the_next_one_gets_its_own_answer() {
    tokio::join!(try_all(Front::Nginx), try_all(Front::Haproxy));
}

async fn cut_off(front: Front) {
    let site = Site::start(front, &[]).await;
    let head = format!("POST /api/auth/login/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n");
    let (mut heads, mut bodies) = (site.https().await, site.https().await);
    heads.send(head.as_bytes()).await;
    bodies.send(format!("{head}Content-Length: 500\r\n\r\n{{").as_bytes()).await;
    let silence = Duration::from_secs(18);
    let begun = Instant::now();
    let (heads, bodies) = tokio::join!(heads.answers(silence), bodies.answers(silence));
    // Not every proxy says a word to who has not finished his; each hangs up.
    assert!(begun.elapsed() < Duration::from_secs(17), "{front:?}: both are cut off");
    for answer in heads.iter().chain(&bodies) {
        assert_eq!(answer.status, 408, "{front:?}");
    }
}

/// C113. Breaks when `deploy/haproxy/doorbook.cfg`: `timeout http-request 10s` → `timeout http-request 100s`.
#[tokio::test]
async fn a_proxy_cuts_off_a_head_and_a_body_that_do_not_come() {
    tokio::join!(cut_off(Front::Nginx), cut_off(Front::Haproxy));
}
