//! A panic is one line like any other: where it happened, and its text when that was fixed at compile time. A formatted text may
//! hold what a client sent, and the default hook would print it over several lines.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};

use super::metrics::PANICS;

pub(super) const TARGET: &str = "doorbook::panic";
/// Field that names the place.
pub(super) const LOCATION: &str = "location";

pub(super) fn install() {
    panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    PANICS.add(1);
    let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
    let location = place.as_str();
    let text = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(a text made at run time)");
    // Only when RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(target: TARGET, location, text, %backtrace, "panicked");
    } else {
        tracing::error!(target: TARGET, location, text, "panicked");
    }
}
