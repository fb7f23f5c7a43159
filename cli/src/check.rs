//! `doorbook check`: the settings in force, a deployment judged from inside, a running one probed from outside.

mod certificate;
mod database;
mod deploy;
mod effective;
mod files;
mod load;
mod mail;
mod probe;
mod redis;
mod report;
mod score;

use std::io::Write;
use std::path::PathBuf;

use doorbook_core::config::Process;
use doorbook_core::config::check::Parts;
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use crate::{Outcome, settings};

#[derive(clap::Args)]
pub struct Options {
    /// Judge this deployment before it goes into production
    #[arg(long)]
    deploy: bool,
    /// Also send one mail to this address
    #[arg(long, value_name = "ADDRESS", requires = "deploy")]
    send_test_mail: Option<String>,
    /// Probe a running deployment from outside, such as https://api.example.com
    #[arg(long, value_parser = base_url, conflicts_with = "deploy")]
    url: Option<Url>,
    /// Where the same deployment answers plain http, if not on port 80 of its host
    #[arg(long, value_name = "URL", value_parser = base_url, requires = "url")]
    http_url: Option<Url>,
    /// Authorities to trust besides the system's, as PEM
    #[arg(long, value_name = "PATH", requires = "url")]
    ca_file: Option<PathBuf>,
    /// Also register an account, log in and read its profile; at this address, or at one of example.com
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "", requires = "url")]
    with_account: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An http or https URL without path: the beginning of all that is asked for.
fn base_url(text: &str) -> Result<Url, &'static str> {
    const RULE: &str = "must be a URL such as https://api.example.com";
    let url = Url::parse(text).map_err(|_| RULE)?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare { Ok(url) } else { Err(RULE) }
}

/// This machine's clock: dates of files and certificates are compared with it, and nothing is recorded.
#[expect(
    clippy::disallowed_methods,
    reason = "a check of another machine's database must not depend on it for the time"
)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// For what is thrown away after the check.
#[expect(clippy::disallowed_methods, reason = "names nothing that the database keeps an id of")]
fn random() -> Uuid {
    Uuid::new_v4()
}

/// Whether a mail to this address leaves with the settings in force.
pub async fn test_mail(address: &str, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let parts = Parts::read(&settings::environment()?, Process::Worker);
    report::write(&Box::pin(mail::lines(&parts, Some(address))).await, false, out)
}

pub async fn run(options: &Options, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let lines = match &options.url {
        Some(url) => {
            let outside = probe::Outside::new(url, options.http_url.as_ref(), options.ca_file.as_deref())?;
            let account = match options.with_account.as_deref() {
                Some("") => Some(probe::throw_away_address()),
                other => other.map(str::to_owned),
            };
            outside.lines(account.as_deref()).await
        }
        None if options.deploy => {
            Box::pin(deploy::lines(&settings::environment()?, options.send_test_mail.as_deref())).await
        }
        None => return effective::show(&settings::environment()?, options.json, out),
    };
    report::write(&lines, options.json, out)
}
