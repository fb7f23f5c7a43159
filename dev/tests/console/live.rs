//! The live page, and the stream that its script opens.

use std::time::Duration;

use doorbook_dev::{Cluster, Stand};
use reqwest::Response;

use crate::session::{Browser, person, somebody};

/// Rows of a search.
async fn count(browser: &mut Browser, query: &str) -> usize {
    let page = browser.get(&format!("/admin/audit/?{query}")).await.text().await.unwrap();
    page.matches("href=\"/admin/audit/events/").count()
}

/// The first message with rows.
async fn first_row(mut stream: Response) -> String {
    let mut text = String::new();
    while !text.contains("data: <tr") || !text.ends_with("\n\n") {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().expect("it goes on")).unwrap());
    }
    text
}

/// Breaks when `api/src/console/pages/audit.rs`: `resume(&request)?.or_else(|| visit.fields.get(BEHIND).map(str::to_owned))` → `resume(&request)?`.
#[tokio::test]
async fn nothing_is_lost_between_the_live_page_and_its_stream() {
    let stand = Stand::start(Cluster::shared().await.unwrap()).await.unwrap();
    let mut browser = Browser::signed_in(&stand, &somebody(&stand, "admin").await).await;
    let page = browser.get("/admin/audit/live/?type=Registered").await.text().await.unwrap();
    let (_, rest) = page.split_once("data-stream=\"").unwrap();
    let path = rest.split('"').next().unwrap().replace("&amp;", "&");
    person(&stand).await;
    let mut looked = 0;
    while count(&mut browser, "type=Registered").await < 2 {
        looked += 1;
        assert!(looked < 200, "it is never sealed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // As slow as a browser may be.
    let stream = browser.get(&path).await;
    assert_eq!(stream.status(), 200);
    let row = tokio::time::timeout(Duration::from_secs(20), first_row(stream)).await.expect("what came between");
    assert!(row.contains("Registered"), "{row}");
    assert_eq!(count(&mut browser, "type=AuditStreamOpened").await, 1, "page and stream are one look");
}
