//! The checked-in OpenAPI document is the one that this build serves.

use std::sync::Arc;

use doorbook_api::openapi;
use doorbook_api::routes::health::Readiness;
use doorbook_api::server::routes;
use futures::FutureExt;

/// Where client generators find it.
const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/doorbook.v1.yaml");

/// Set it to write the document instead of comparing it.
const WRITE: &str = "DOORBOOK_WRITE_OPENAPI";

#[test]
fn the_checked_in_document_is_the_one_that_is_served() {
    let service = openapi::service(routes(Arc::new(|| async { Readiness::Ready }.boxed())));
    let built = openapi::openapi(&service).unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(CHECKED_IN, &built).unwrap();
    }
    let checked_in = std::fs::read_to_string(CHECKED_IN).unwrap();
    let mut lines = checked_in.lines().zip(built.lines()).zip(1..);
    if let Some(((old, new), number)) = lines.find(|((old, new), _)| old != new) {
        panic!("line {number} was\n{old}\nand is now\n{new}\nRun this test with {WRITE}=1 and review the difference.");
    }
    assert_eq!(checked_in.len(), built.len(), "lines were added or removed at the end; {WRITE}=1 writes the document");
}
