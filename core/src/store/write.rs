//! One statement a command: guards, events, projections, jobs and the idempotency row in a single autocommit statement, made of
//! common table expressions. Either all of its steps touched the rows they expected, or the statement raises a conflict and
//! nothing of it remains; there is no state between two statements for a crash to find.
//!
//! Guard steps run in the order they are added (who asks, account, session, minute, counter, admins), each after the one before, so that two commands
//! never wait for each other crosswise.

use std::fmt::Write as _;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::{Arguments, AssertSqlSafe, Encode, Executor, Row, Type};

use super::StoreError;
use crate::clock::Timestamp;

/// How many rows a step must touch.
#[derive(Clone, Copy)]
pub(super) enum Expect {
    Rows(usize),
    Any,
}

#[derive(Default)]
pub struct Write {
    steps: Vec<(String, String, Expect)>,
    arguments: PgArguments,
    count: usize,
    /// The last guard: the next one waits for it.
    pub(super) last_guard: Option<String>,
    /// Guards that say behind which version the events of their stream go.
    pub(super) appended: Vec<String>,
    fault: Option<sqlx::error::BoxDynError>,
}

impl Write {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter and returns its placeholder.
    pub(super) fn bind<'a, T>(&mut self, value: T) -> String
    where
        T: Encode<'a, Postgres> + Type<Postgres>,
    {
        if let Err(error) = self.arguments.add(value) {
            self.fault.get_or_insert(error);
        }
        self.count += 1;
        format!("${}", self.count)
    }

    /// Adds a step: a data-modifying statement that ends in `returning 1`. Returns what others name it by.
    pub(super) fn step(&mut self, name: &str, expect: Expect, sql: String) -> String {
        let name = format!("{name}_{}", self.steps.len());
        self.steps.push((name.clone(), sql, expect));
        name
    }

    /// Adds a step that takes a row lock. `sql` holds `{after}` where a condition stands: it waits for the guard before.
    pub(super) fn guard(&mut self, name: &str, sql: &str) {
        let after = self
            .last_guard
            .as_ref()
            .map_or_else(|| "true".to_owned(), |last| format!("(select count(*) from {last}) >= 0"));
        self.last_guard = Some(self.step(name, Expect::Rows(1), sql.replace("{after}", &after)));
    }

    fn sql(&self) -> String {
        let mut sql = String::from("with ");
        for (index, (name, body, _)) in self.steps.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(sql, "{comma}{name} as ({body})");
        }
        // All in one column: Postgres gives no more than 1,664, and a batch of alerts has as many steps.
        sql.push_str(" select clock_timestamp() as now, true");
        for (name, _, expect) in &self.steps {
            let _ = match expect {
                Expect::Rows(rows) => write!(
                    sql,
                    " and case when (select count(*) from {name}) = {rows} then true else write_conflict('{name}') end"
                ),
                // Counted all the same: a step that only selects, such as the wake-up, runs only when somebody asks for its rows.
                Expect::Any => write!(sql, " and (select count(*) from {name}) >= 0"),
            };
        }
        sql
    }

    /// Runs the statement. `Conflict` means that nothing was written and the command must be decided anew.
    pub async fn run<'e, E>(self, db: E) -> Result<Timestamp, StoreError>
    where
        E: Executor<'e, Database = Postgres>,
    {
        let sql = self.sql();
        if let Some(fault) = self.fault {
            return Err(StoreError::Failed(sqlx::Error::Encode(fault)));
        }
        let row = sqlx::query_with(AssertSqlSafe(sql), self.arguments).fetch_one(db).await?;
        Ok(row.try_get("now")?)
    }
}
