//! The checks before a deployment, in the order of the operators' list.

use doorbook_core::config::check::{Line, Parts, judge};
use doorbook_core::config::{Environment, Process};

use super::{database, files, mail, redis};

pub async fn lines(environment: &Environment, send_test_mail: Option<&str>) -> Vec<Line> {
    let parts = Parts::read(environment, Process::Api);
    let worker = Parts::read(environment, Process::Worker);
    let mut lines = judge(environment, &parts);
    lines.extend(database::lines(parts.database.as_ref(), worker.database.as_ref()).await);
    lines.push(redis::line(parts.redis.as_ref()).await);
    lines.extend(Box::pin(mail::lines(&parts, send_test_mail)).await);
    lines.push(files::log_file(parts.logging.as_ref()));
    lines.push(files::last_backup(parts.watching.as_ref()));
    lines
}

/// What could not be looked at, since the setting that says where was refused; the fault has its own line.
pub fn unseen(check: &'static str, why: &str) -> Line {
    Line::warn(check, format!("not looked at: {why}"))
}
