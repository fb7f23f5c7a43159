//! The service does what its OpenAPI document says, whoever asks and whatever is asked.

use doorbook_dev::schemathesis::{self, Plan};

use crate::common::*;

/// Cases that the bar asks for, both runs together.
const CASES_MIN: u64 = 3_000;

/// C059. Breaks when `api/src/openapi.rs`: `("post /api/auth/token/refresh/", &[401, 429]),` → `("post /api/auth/token/refresh/", &[429]),`.
#[tokio::test]
async fn everything_that_the_document_allows_or_forbids_is_answered_as_it_says() {
    // Limits out of the way: what is behind them shall be asked too.
    let stand = stand(&[
        ("MAX_LOGIN_ATTEMPTS", "10000"),
        ("LOGIN_ADDRESS_MAX_FAILURES", "1000000"),
        ("MAX_REGISTRATION_ATTEMPTS", "1000000"),
        ("MAX_RESET_ATTEMPTS", "10000"),
        ("SESSIONS_MAX", "1000"),
    ])
    .await;
    // Whoever is an admin is a user too. The last one stays, whatever he is made to do to himself.
    let email = empowered(&stand, "admin").await;
    let account = format!("{email} {PASSWORD}");
    let mut cases = 0;
    for account in [None, Some(account.as_str())] {
        let plan = Plan { base: &stand.base, account, examples: dose(15, 150), seed: 1 };
        let outcome = schemathesis::run(plan).await.unwrap();
        assert!(outcome.passed && outcome.cases > 0, "{}", outcome.output);
        println!("figure: {} cases {}", outcome.cases, if account.is_some() { "as an admin" } else { "as a stranger" });
        cases += outcome.cases;
    }
    assert!(cases >= CASES_MIN, "{cases} cases");
    let log = stand.api.log().unwrap();
    assert!(!log.contains("a handler failed") && !log.contains("panicked"), "{log}");
}
