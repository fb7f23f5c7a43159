//! Jobs that nobody will try again by itself.

use std::io::Write;

use anyhow::{Context as _, anyhow, ensure};
use clap::Subcommand;
use doorbook_core::job;
use doorbook_core::store::jobs::{self, DeadJob};
use doorbook_core::value::{DeliveryId, JobId};
use uuid::Uuid;

use crate::account::{operator, reason};
use crate::{Outcome, mail, settings};

#[derive(Subcommand)]
pub enum Command {
    /// List dead jobs, newest first
    Dead {
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// Give a dead job another life; one that sends a mail needs a reason, which stands in the mail's story
    Redrive {
        id: Uuid,
        /// Stands in the event: why this is done
        #[arg(long, value_parser = reason)]
        reason: Option<String>,
    },
}

pub async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let pool = settings::pool(&settings::load()?).await?;
    match command {
        Command::Dead { limit } => {
            for job in jobs::dead(&pool, None, limit).await? {
                line(&job, out)?;
            }
        }
        Command::Redrive { id, reason } => {
            let none = || anyhow!("there is no dead job {id}");
            let dead = jobs::dead(&pool, Some(JobId(id)), 1).await?.pop().ok_or_else(none)?;
            if dead.kind == job::MAIL {
                let reason = reason.context("the job sends a mail: --reason says why it shall")?;
                let doorbook = settings::doorbook().await?;
                let mail = DeliveryId(dead.reference);
                if !doorbook.redrive_mail(mail, &reason, &operator()).await.map_err(mail::explain)? {
                    writeln!(out, "job {id} is done: its mail was sent anew since, as another one.")?;
                    return Ok(Outcome::Done);
                }
            } else {
                ensure!(reason.is_none(), "--reason is for jobs that send a mail: nothing tells of this one");
                ensure!(jobs::redrive(&pool, JobId(id)).await?, none());
            }
            writeln!(out, "job {id} is due again.")?;
        }
    }
    Ok(Outcome::Done)
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
