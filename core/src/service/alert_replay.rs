//! The rules over what has happened already: what they would have said, with these thresholds. Nothing is written.

use std::collections::BTreeMap;

use super::alerts::{fact, is_opened};
use super::{Doorbook, Refusal};
use crate::alert::{Alert, Key, Memory, Rule, Subject, Thresholds, judge};
use crate::clock::Timestamp;
use crate::store::{StoreError, follow, search};

/// Events of one read.
const PAGE: i64 = 1_000;

/// What a rule would have said of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    pub rule: Rule,
    pub subject: Subject,
    pub times: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// The largest count that it would have named.
    pub most: u64,
}

impl Doorbook {
    /// What the rules would have said since then, by rule and subject; the most talkative first. Reads a long window more than that, for what
    /// had been counted by then. What a worker sees itself stands in no event, so it is not told; what was erased is not counted.
    pub async fn replay_alerts(&self, since: Timestamp, thresholds: &Thresholds) -> Result<Vec<Replayed>, Refusal> {
        let before = since.minus(thresholds.long_window.max(thresholds.fresh_role.unwrap_or_default()));
        let now = self.now().plus(std::time::Duration::from_hours(1));
        let Some((first, _)) = search::bounds(&self.db, before, now).await? else { return Ok(Vec::new()) };
        let (mut after, mut memory) = (first - 1, Memory::default());
        let mut told: BTreeMap<Key, Replayed> = BTreeMap::new();
        loop {
            let mut tx = self.db.begin().await.map_err(StoreError::from)?;
            let ahead = follow::read(&mut tx, &self.db, &self.vault, after, PAGE, is_opened).await?;
            tx.rollback().await.map_err(StoreError::from)?;
            if ahead.position == after {
                if let Some(stop) = ahead.stop {
                    return Err(stop.into());
                }
                break;
            }
            after = ahead.position;
            let mut at = before;
            for read in ahead.events {
                let fact = fact(read);
                at = at.max(fact.at);
                for alert in judge(&fact, &mut memory, thresholds) {
                    if alert.at >= since {
                        tell(&mut told, &alert);
                    }
                }
            }
            memory.forget(at);
        }
        let mut told: Vec<Replayed> = told.into_values().collect();
        told.sort_by_key(|it| std::cmp::Reverse(it.times));
        Ok(told)
    }
}

fn tell(told: &mut BTreeMap<Key, Replayed>, alert: &Alert) {
    let Alert { rule, ref subject, at, ref evidence } = *alert;
    let entry = told.entry((rule, subject.clone())).or_insert_with(|| Replayed {
        rule,
        subject: subject.clone(),
        times: 0,
        first: at,
        last: at,
        most: 0,
    });
    entry.times += 1;
    entry.last = at;
    entry.most = entry.most.max(evidence.count);
}
