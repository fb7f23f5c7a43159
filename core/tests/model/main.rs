//! The rules under any sequence of commands. What must hold after each is said in sentences; proptest looks for a sequence after which
//! it does not, and shortens it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop; clippy.toml knows only test functions")]

mod account;
mod attempts;
mod session;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

/// Sequences in every run, and in the whole dose. Source: C076.
const SMALL_DOSE: u32 = 500;
const FULL_DOSE: u32 = 10_000;

fn hold<S: Strategy>(sequences: &S, holds: impl Fn(S::Value) -> TestCaseResult) {
    let cases = if std::env::var("DOORBOOK_DOSE").is_ok_and(|dose| dose == "full") { FULL_DOSE } else { SMALL_DOSE };
    // What fails is told in the message; a file of seeds beside the sources would only repeat it.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(sequences, holds) {
        panic!("{error}");
    }
    println!("figure: {cases} sequences");
}
