//! Jobs that nobody will try again by itself.

use std::io::Write;

use clap::Subcommand;
use doorbook_core::store::jobs::{self, DeadJob};
use doorbook_core::value::JobId;
use uuid::Uuid;

use crate::{Outcome, settings};

#[derive(Subcommand)]
pub enum Command {
    /// List dead jobs, newest first
    Dead {
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// Give a dead job another life
    Redrive { id: Uuid },
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let pool = settings::pool(&settings::load()?).await?;
    match command {
        Command::Dead { limit } => {
            for job in jobs::dead(&pool, limit).await? {
                line(&job, out)?;
            }
            Ok(Outcome::Done)
        }
        Command::Redrive { id } => {
            if jobs::redrive(&pool, JobId(id)).await? {
                writeln!(out, "job {id} is due again.")?;
                Ok(Outcome::Done)
            } else {
                anyhow::bail!("there is no dead job {id}")
            }
        }
    }
}

/// A mail server's answer is somebody else's text: it is escaped before it reaches the terminal.
fn line(job: &DeadJob, out: &mut impl Write) -> std::io::Result<()> {
    let since = job.settled_at.map_or_else(|| "-".to_owned(), |at| at.to_millisecond().rfc3339());
    let error = job.last_error.as_deref().unwrap_or("-").escape_debug();
    writeln!(out, "{}  {since}  {} {}  {} attempts  {error}", job.job_id, job.kind, job.reference, job.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mail_server_answers_cannot_steer_the_terminal() {
        let job = DeadJob {
            job_id: JobId(Uuid::nil()),
            kind: "mail".into(),
            reference: Uuid::nil(),
            attempt: 3,
            last_error: Some("550 no\u{1b}[2J\r\nsuch".into()),
            settled_at: None,
        };
        let mut out = Vec::new();
        line(&job, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("550 no\\u{1b}[2J\\r\\nsuch\n"), "{text:?}");
    }
}
