//! What was signed about the log.

use doorbook_core::audit::note::hex;
use maud::html;
use poem::{Request, Response};

use crate::console::layout::{self, Nav, number, time};
use crate::console::visit::Visit;
use crate::problem::Problem;

const PAGE: u32 = 50;

pub async fn list(visit: Visit, _: Request) -> Result<Response, Problem> {
    let before = visit.fields.get("before").and_then(|size| size.parse().ok());
    let found = visit.doorbook.list_checkpoints(before, PAGE).await?;
    let keys = visit.doorbook.signing_keys().await?;
    let next = found.last().filter(|_| found.len() >= PAGE as usize).map(|last| last.size);
    let content = html! {
        p {
            "Each is a signed statement about every event up to its size. Keep one elsewhere, and "
            code { "doorbook audit verify" }
            " shows whether the log still is what it was then."
        }
        section aria-labelledby="keys" {
            h2 #keys { "Public keys" }
            @if keys.is_empty() { p .empty { "Nothing has been signed yet." } }
            @for key in &keys {
                p { code .verifier { (key.verifier) } " since " (time(key.first_used_at)) }
            }
        }
        section aria-labelledby="signed" {
            h2 #signed { "Checkpoints" }
            @if found.is_empty() {
                p .empty { "None here. The worker signs one every 1,000 events or 60 seconds." }
            } @else {
                div .scroll tabindex="0" role="region" aria-labelledby="signed" {
                    table {
                        thead { tr { th scope="col" .number { "Events" } th scope="col" { "Signed" } th scope="col" { "Root" } th scope="col" { "Note" } } }
                        tbody {
                            @for checkpoint in &found {
                                tr {
                                    th scope="row" .number { (number(checkpoint.size)) }
                                    td { (time(checkpoint.signed_at)) }
                                    td { code .hash { (hex(&checkpoint.root)) } }
                                    td { details { summary { "Show" } pre { (checkpoint.note) } } }
                                }
                            }
                        }
                    }
                }
            }
            @if let Some(next) = next { p .pages { a href={ "/admin/checkpoints/?before=" (next) } { "Earlier" } } }
        }
    };
    Ok(layout::page("Checkpoints", "/admin/checkpoints/", Some(&Nav::of(&visit)), &content))
}
