//! 6 and 7: the live rows are what the events come to, and the log is dense and proves what was signed.

use anyhow::Result;
use doorbook_dev::halves::HALVES;

use super::{Evidence, Verdict};
use crate::rig::Rig;

/// What must not be in the log, and how many there are of each.
pub(super) const BROKEN: [(&str, &str); 6] = [
    ("positions that are not dense", "select max(position) - count(*) from event_seals"),
    ("events that are not sealed", "select (select count(*) from events) - (select count(*) from event_seals)"),
    (
        "followers that stand still or have not come to the end",
        "select count(*) from followers where fault is not null or position < (select max(position) from event_seals)",
    ),
    (
        "events that no search finds by their kind",
        "select count(*) from event_seals p where not exists (select 1 from event_search s where s.position = p.position and s.field = 3)",
    ),
    (
        "kinds of events of which the hours count others than there are",
        "select count(*) from (select type, count(*)::numeric as number from events group by type) e
         full join (select type, sum(events) as number from event_hours group by type) h using (type)
         where e.number is distinct from h.number",
    ),
    (
        "jobs that were given up, but for mails of which nobody heard whether they had arrived",
        "select count(*) from jobs j where j.state = 'dead'
             and not exists (select 1 from deliveries d where d.delivery_id = j.ref and d.unheard > 0)",
    ),
];

/// 6.
pub async fn projections(rig: &Rig) -> Result<Verdict> {
    let (figure, findings) = of_command(rig, &["projections", "check"]).await;
    Ok(Verdict { name: "projections", figure, findings })
}

/// 7.
pub async fn judge(rig: &Rig, evidence: &Evidence) -> Result<Verdict> {
    let (figure, mut findings) = of_command(rig, &["audit", "verify"]).await;
    for (what, sql) in BROKEN.iter().chain(&HALVES) {
        let number = evidence.number(sql).await?;
        if number != 0 {
            findings.push(format!("{number} {what}"));
        }
    }
    Ok(Verdict { name: "the log", figure, findings })
}

/// The last line of what a command prints, or its whole complaint.
async fn of_command(rig: &Rig, arguments: &[&str]) -> (String, Vec<String>) {
    match rig.doorbook(arguments).await {
        Ok(text) => (text.trim().lines().last().unwrap_or_default().to_owned(), Vec::new()),
        Err(error) => (format!("doorbook {}", arguments.join(" ")), vec![format!("{error:#}")]),
    }
}
