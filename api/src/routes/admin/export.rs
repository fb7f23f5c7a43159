//! The trail as a file, streamed: as lines of JSON or as CSV.

use std::sync::Arc;

use doorbook_core::service::access::Caller;
use doorbook_core::service::audit::{Export, Filter};
use doorbook_core::service::{Context, Doorbook};
use futures::stream;
use hyper::body::Bytes;
use poem::web::Query;
use poem::{Body, FromRequest, Request, RequestBody};
use poem_openapi::payload::Binary;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApi, ResponseContent};
use serde::Deserialize;

use super::audit::{Asking, TrailEvent, refuse_unknown};
use crate::auth::Auditor;
use crate::problem::{FieldError, Problem};
use crate::routes::Chapter;
use crate::routes::input::Asked;

pub struct Exports;

/// Head of the CSV form.
const COLUMNS: [&str; 20] = [
    "position",
    "id",
    "at",
    "type",
    "severity",
    "kind",
    "account",
    "actor_kind",
    "actor",
    "session_id",
    "trace_id",
    "cause",
    "email",
    "address",
    "device",
    "erased",
    "payload",
    "first_name",
    "last_name",
    "schema_version",
];

#[derive(ResponseContent)]
pub(crate) enum File {
    #[oai(content_type = "application/x-ndjson")]
    Lines(Binary<Body>),
    #[oai(content_type = "text/csv; charset=utf-8")]
    Csv(Binary<Body>),
}

#[derive(ApiResponse)]
pub(crate) enum Exported {
    /// The events, newest first. A transfer that ends without its last chunk was cut off: also one of which more than 100,000 events were to be
    /// handed out, for which a span of time is to be asked.
    #[oai(status = 200)]
    File(File, #[oai(header = "Content-Disposition")] String),
}

#[derive(Clone, Copy)]
enum Format {
    Lines,
    Csv,
}

impl Format {
    const ALL: [Self; 2] = [Self::Lines, Self::Csv];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Lines => "ndjson",
            Self::Csv => "csv",
        }
    }
}

/// The parameters of a search with the form of the file. The document has them from the search.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    format: Option<String>,
    #[serde(flatten)]
    asking: Asking,
}

impl Wanted {
    fn parse(self) -> Result<(Format, Filter), Problem> {
        let format = Format::ALL.into_iter().find(|format| self.format.as_deref() == Some(format.as_str()));
        let refused = || FieldError::new("format", "invalid", "must be one of: ndjson, csv");
        let format = format.ok_or_else(|| Problem::validation(vec![refused()]))?;
        Ok((format, self.asking.parse()?))
    }

    /// Records the export and begins it.
    pub(crate) async fn export(
        self,
        doorbook: &Arc<Doorbook>,
        caller: Caller,
        context: &Context,
    ) -> Result<Exported, Problem> {
        let (format, filter) = self.parse()?;
        let name = format.as_str();
        let export = doorbook.export_trail(caller, filter, name, context).await?;
        let file = match format {
            Format::Lines => File::Lines(Binary(body(export, format))),
            Format::Csv => File::Csv(Binary(body(export, format))),
        };
        Ok(Exported::File(file, format!("attachment; filename=\"trail.{name}\"")))
    }
}

impl<'a> FromRequest<'a> for Wanted {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        refuse_unknown(request, &["format"])?;
        Query::from_request(request, body).await.map(|Query(wanted)| wanted).map_err(|_| Problem::bad_request().into())
    }
}

#[OpenApi(tag = "Chapter::Administration")]
impl Exports {
    /// Export the trail
    ///
    /// What a search finds, as a file. Auditors get mailboxes masked. Each export is recorded before it begins; twenty an hour.
    /// Needs a password given within ten minutes, at the login or at `/api/admin/step-up/`.
    #[oai(path = "/api/admin/audit/export/", method = "get", operation_id = "export_audit")]
    async fn export(&self, auditor: Auditor, asked: Asked, wanted: Wanted) -> Result<Exported, Problem> {
        wanted.export(&asked.doorbook, auditor.0, &asked.context).await
    }
}

/// Pages of the export as the client takes them. An error ends the transfer without its last chunk.
fn body(export: Export, format: Format) -> Body {
    let head = match format {
        Format::Lines => Vec::new(),
        Format::Csv => csv_lines(std::iter::once(COLUMNS.map(str::to_owned))),
    };
    let pages = stream::try_unfold((export, Some(head)), move |(mut export, head)| async move {
        if let Some(head) = head {
            return Ok(Some((Bytes::from(head), (export, None))));
        }
        let page = export.next().await.map_err(|error| {
            tracing::warn!(%error, "an export of the trail was cut off");
            std::io::Error::other("the export was cut off")
        })?;
        Ok::<_, std::io::Error>(page.map(|entries| {
            let events = entries.into_iter().map(TrailEvent::from);
            let bytes = match format {
                Format::Lines => events.map(|event| event.to_json_string() + "\n").collect::<String>().into_bytes(),
                Format::Csv => csv_lines(events.map(TrailEvent::cells)),
            };
            (Bytes::from(bytes), (export, None))
        }))
    });
    Body::from_bytes_stream(pages)
}

fn csv_lines(rows: impl Iterator<Item = [String; COLUMNS.len()]>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        // Writing to a Vec cannot fail, and all rows are of one length.
        let _ = writer.write_record(row.map(inert));
    }
    writer.into_inner().unwrap_or_default()
}

/// A cell that no spreadsheet takes for a formula. Source: OWASP, CSV injection.
fn inert(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_every_cell_stays_one() {
        let mut row: [String; COLUMNS.len()] = std::array::from_fn(|_| String::new());
        for (cell, text) in row.iter_mut().zip(["=1+1", "+49", "-2", "@SUM(A1)", "\tx", "a,b", "say \"hi\"\r\n"]) {
            text.clone_into(cell);
        }
        let text = String::from_utf8(csv_lines(std::iter::once(row))).unwrap();
        assert!(text.starts_with("'=1+1,'+49,'-2,'@SUM(A1),'\tx,\"a,b\",\"say \"\"hi\"\"\r\n\","), "{text}");
    }
}
