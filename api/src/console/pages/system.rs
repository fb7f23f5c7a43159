//! How the service itself is.

use doorbook_core::service::system::System;
use maud::{Markup, html};
use poem::{Request, Response};

use crate::console::layout::{self, Nav, number, or_none, time};
use crate::console::visit::Visit;
use crate::problem::Problem;

/// A worker that has not told of itself for so long is away, as for readiness, in milliseconds.
const AWAY_MS: i64 = 20_000;
/// Lags above these ask for attention, in milliseconds. Source: the alert rules.
const SEAL_WARN_MS: i64 = 5_000;
const DUE_WARN_MS: i64 = 60_000;
const SINK_WARN_MS: i64 = 300_000;

pub async fn show(visit: Visit, _: Request) -> Result<Response, Problem> {
    let system = visit.doorbook.system().await?;
    let content = html! {
        (figures(&system))
        section aria-labelledby="workers" {
            h2 #workers { "Workers" }
            @if system.workers.is_empty() {
                p .error { "No worker has shown itself within the hour: mails wait, and events are not sealed." }
            } @else { (workers(&system)) }
        }
        section aria-labelledby="views" {
            h2 #views { "Views of the log" }
            @if system.followers.is_empty() { p .empty { "None has begun yet." } } @else { (followers(&system)) }
        }
    };
    Ok(layout::page("System", "/admin/system/", Some(&Nav::of(&visit)), &content))
}

fn figures(system: &System) -> Markup {
    let (seal, sink, jobs) = (&system.unsealed, &system.unwritten, &system.jobs);
    html! {
        dl .figures {
            (figure("Events not sealed", seal.waiting, Some(seal.oldest_ms), seal.oldest_ms > SEAL_WARN_MS))
            (figure("Unsealed after 60 s", seal.overdue, None, seal.overdue > 0))
            (figure("Jobs due", jobs.due, Some(jobs.oldest_due_ms), jobs.oldest_due_ms > DUE_WARN_MS))
            (figure("Jobs given out", jobs.outstanding, None, false))
            (figure("Jobs given up", jobs.dead, None, jobs.dead > 0))
            (figure("Checkpoints not written to the sink", sink.waiting, Some(sink.oldest_ms), sink.oldest_ms > SINK_WARN_MS))
            div {
                dt { "Newest checkpoint" }
                dd {
                    @match &system.newest_checkpoint {
                        Some(checkpoint) => { (number(checkpoint.size)) " events" small { (time(checkpoint.signed_at)) } }
                        None => { span .none { "none yet" } }
                    }
                }
            }
        }
    }
}

fn figure(name: &str, count: i64, oldest_ms: Option<i64>, is_bad: bool) -> Markup {
    html! {
        div class=[is_bad.then_some("bad")] {
            dt { (name) }
            dd {
                (number(count))
                @if let Some(oldest) = oldest_ms.filter(|_| count > 0) { small { "oldest " (seconds(oldest)) } }
                @if is_bad { strong .flag { "look into this" } }
            }
        }
    }
}

fn seconds(milliseconds: i64) -> String {
    format!("{}.{} s", number(milliseconds / 1_000), milliseconds.rem_euclid(1_000) / 100)
}

fn workers(system: &System) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-labelledby="workers" {
            table {
                thead { tr { th scope="col" { "Process" } th scope="col" { "Redis" } th scope="col" { "Mail" } th scope="col" { "Last sign of life" } } }
                tbody {
                    @for worker in &system.workers {
                        tr class=[(worker.silent_ms > AWAY_MS).then_some("bad")] {
                            th scope="row" { (worker.process) }
                            td { (worker.redis) }
                            td { (worker.mail) }
                            td { (seconds(worker.silent_ms)) " ago" }
                        }
                    }
                }
            }
        }
    }
}

fn followers(system: &System) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-labelledby="views" {
            table {
                thead { tr { th scope="col" { "View" } th scope="col" .number { "Behind by events" } th scope="col" { "Moved" } th scope="col" { "Stands still because" } } }
                tbody {
                    @for follower in &system.followers {
                        tr class=[follower.fault.is_some().then_some("bad")] {
                            th scope="row" { (follower.name) }
                            td .number { (number(follower.behind)) }
                            td { (time(follower.moved_at)) }
                            td { (or_none(follower.fault.as_deref(), "it does not")) }
                        }
                    }
                }
            }
        }
    }
}
