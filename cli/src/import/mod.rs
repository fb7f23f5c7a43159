//! Accounts of another service. Two passes over the source: the first finds what only all rows together tell, the second imports, a
//! batch a statement. What an earlier run has brought over is skipped.

mod file;
mod report;
mod source;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use doorbook_core::account::Role;
use doorbook_core::service::import::row::{Census, Choices, Column, RawRow, Row, Verified};
use doorbook_core::service::import::{BATCH_MAX, Fate};
use doorbook_core::service::{Context, Doorbook, Refusal};
use doorbook_core::token::random;
use doorbook_core::value::Locale;
use uuid::Uuid;

use self::report::Report;
use self::source::{Columns, Source};
use crate::{Outcome, account, settings};

#[derive(Subcommand)]
pub enum Command {
    /// Import the users of a Django service, with their password hashes
    Django(Box<Django>),
}

/// Where the users are: one of them.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct From {
    /// Read this Postgres database; `-` reads its URL from standard input, out of sight of the process list
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Read a CSV file whose first line names the columns
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Read a file with a JSON object a line
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct Django {
    #[command(flatten)]
    from: From,
    /// Table of the users; may have a schema before a dot
    #[arg(long, default_value = "auth_user", conflicts_with_all = ["csv", "ndjson"])]
    table: String,
    /// Read NAME from COLUMN instead of the column of that name; `NAME=-`: there is none. May be repeated
    #[arg(long, value_name = "NAME=COLUMN", value_parser = source::mapping)]
    column: Vec<(Column, Option<String>)>,
    /// Name of the service in the log: with the id it tells an account that is there already
    #[arg(long, default_value = "django", value_parser = service_name)]
    source: String,
    /// Whose addresses count as verified [default: `column` where the source has `email_verified`, else `all`]
    #[arg(long, value_parser = verified())]
    emails_verified: Option<Verified>,
    /// Give staff this role
    #[arg(long, value_name = "ROLE", value_parser = account::role())]
    map_staff: Option<Role>,
    /// Give superusers this role
    #[arg(long, value_name = "ROLE", value_parser = account::role())]
    map_superuser: Option<Role>,
    /// Import accounts whose hash cannot be verified here without a password instead of refusing them
    #[arg(long)]
    drop_unreadable_passwords: bool,
    /// Language of their mails [default: DEFAULT_LOCALE]
    #[arg(long, value_parser = account::locale())]
    locale: Option<Locale>,
    /// Accounts of one statement
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=i64::from(BATCH_MAX)))]
    batch: u16,
    /// Write nothing; tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

fn verified() -> impl TypedValueParser<Value = Verified> {
    PossibleValuesParser::new(["all", "none", "column"]).map(|word| match word.as_str() {
        "none" => Verified::None,
        "column" => Verified::Column,
        _ => Verified::All,
    })
}

/// As the check of `imported_accounts.source` has it.
fn service_name(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_');
    if fits { Ok(text.to_owned()) } else { Err("must hold 1 to 32 small letters, digits, - and _".to_owned()) }
}

pub async fn django(options: Django, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut source = open(&options).await?;
    let missing = source.columns().missing();
    for needed in [Column::Id, Column::Email, Column::Password] {
        if missing.contains(&needed) {
            bail!("the source has no column {0}: name it with --column {0}=…", needed.name());
        }
    }
    let all_active = options.column.contains(&(Column::IsActive, None));
    if missing.contains(&Column::IsActive) && !all_active {
        bail!(
            "the source has no column is_active: name it with --column is_active=…, or say --column is_active=- if all are active"
        );
    }
    if options.emails_verified == Some(Verified::Column) && missing.contains(&Column::EmailVerified) {
        bail!("the source has no column email_verified: name it with --column email_verified=…");
    }
    let doorbook = settings::doorbook().await?;
    let mut census = Census::default();
    while let Some(page) = source.page(BATCH_MAX).await? {
        for raw in &page {
            census.observe(raw);
        }
    }
    source.rewind().await?;
    let has_verified = source.columns().has(Column::EmailVerified);
    let verified = options.emails_verified.unwrap_or(if has_verified { Verified::Column } else { Verified::All });
    let choices = Choices {
        verified,
        staff: options.map_staff,
        superuser: options.map_superuser,
        drop_unreadable_passwords: options.drop_unreadable_passwords,
        all_active,
    };
    let locale = options.locale.unwrap_or(doorbook.policy.default_locale);
    let mut run = Run {
        report: Report::new(options.dry_run, source.columns()),
        context: Context::operator(Uuid::from_bytes(random())),
        started: Instant::now(),
        doorbook,
        options,
        choices,
        census,
        locale,
    };
    let ended = run.all(&mut source, out).await;
    run.report.ignored = source.columns().ignored();
    run.report.end(run.started.elapsed());
    run.print(out)?;
    ended?;
    Ok(if run.report.refused() == 0 { Outcome::Done } else { Outcome::Found })
}

async fn open(options: &Django) -> anyhow::Result<Source> {
    let columns = Columns::new(&options.column)?;
    match (&options.from.database, &options.from.csv, &options.from.ndjson) {
        (Some(url), ..) if url == "-" => {
            let url = std::io::read_to_string(std::io::stdin()).context("the URL cannot be read")?;
            Source::database(url.trim(), &options.table, columns).await
        }
        (Some(url), ..) => Source::database(url, &options.table, columns).await,
        (_, Some(path), _) => Source::csv(path, columns),
        (_, _, Some(path)) => Source::ndjson(path, columns),
        (None, None, None) => Err(anyhow!("name a source")),
    }
}

/// The second pass.
struct Run {
    doorbook: Doorbook,
    options: Django,
    choices: Choices,
    census: Census,
    context: Context,
    locale: Locale,
    report: Report,
    started: Instant,
}

impl Run {
    async fn all(&mut self, source: &mut Source, out: &mut impl Write) -> anyhow::Result<()> {
        while let Some(page) = source.page(2 * self.options.batch).await? {
            self.batch(&page, out).await?;
        }
        Ok(())
    }

    async fn batch(&mut self, page: &[RawRow], out: &mut impl Write) -> anyhow::Result<()> {
        let mut rows = Vec::with_capacity(page.len());
        let now = self.doorbook.clock.now();
        for raw in page {
            self.report.read += 1;
            let parsed = Row::parse(raw, self.choices, now);
            let faults = match &parsed {
                Ok(row) => self.census.faults(row),
                Err(faults) => faults.clone(),
            };
            match parsed {
                Ok(row) if faults.is_empty() => rows.push(row),
                _ => self.report.refuse(raw.line, raw.id(), faults, self.text(out))?,
            }
        }
        // Two statements at once: while the database works on one, the other is made ready.
        let (first, second) = rows.split_at(rows.len().div_ceil(2));
        let (first_fates, second_fates) = tokio::join!(self.fates(first), self.fates(second));
        for (rows, fates) in [(first, first_fates), (second, second_fates)] {
            let stopped = "the import has stopped; what is reported as imported stays: run it again to go on";
            for (row, fate) in rows.iter().zip(fates.context(stopped)?) {
                match fate {
                    Fate::New => self.report.import(row, self.text(out))?,
                    Fate::Known => self.report.known += 1,
                    Fate::Refused(fault) => self.report.refuse(row.line, Some(&row.id), vec![fault], self.text(out))?,
                }
            }
        }
        Ok(())
    }

    async fn fates(&self, rows: &[Row]) -> Result<Vec<Fate>, Refusal> {
        let (source, doorbook) = (&self.options.source, &self.doorbook);
        if rows.is_empty() {
            Ok(Vec::new())
        } else if self.options.dry_run {
            doorbook.judge_import(source, rows).await
        } else {
            doorbook.import_accounts(source, rows, self.locale, &self.context).await
        }
    }

    /// Where lines for people go, as they come up.
    fn text<'a, W: Write>(&self, out: &'a mut W) -> Option<&'a mut W> {
        (!self.options.json).then_some(out)
    }

    fn print(&self, out: &mut impl Write) -> anyhow::Result<()> {
        if self.options.json { self.report.json(out) } else { self.report.summary(out) }
    }
}
