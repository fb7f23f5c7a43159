//! A table of another service, read as text. One read-only transaction is one snapshot: what is read twice is the same twice.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::db::options;

#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    #[error("the source database cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the source database has no table {0} that this login may see")]
    NoTable(String),
}

/// A table of a Postgres database that is not ours.
pub struct ForeignTable {
    connection: PgConnection,
    /// Quoted.
    table: String,
    /// Names of its columns.
    pub columns: Vec<String>,
}

impl ForeignTable {
    /// Opens `table`, which may have a schema before a dot.
    pub async fn open(url: &str, table: &str) -> Result<Self, ForeignError> {
        let mut connection = PgConnection::connect_with(&options(url)?).await?;
        // Times come in a form that does not depend on the server's settings.
        sqlx::raw_sql(
            "begin transaction isolation level repeatable read, read only; set local timezone = 'UTC'; \
             set local datestyle = 'ISO, YMD'; set local idle_in_transaction_session_timeout = 0",
        )
        .execute(&mut connection)
        .await?;
        let quoted: Vec<String> = table.split('.').map(quoted).collect();
        let quoted = quoted.join(".");
        let columns: Vec<String> = sqlx::query_scalar(
            "select attname::text from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped order by attnum",
        )
        .bind(&quoted)
        .fetch_all(&mut connection)
        .await?;
        if columns.is_empty() {
            return Err(ForeignError::NoTable(table.to_owned()));
        }
        Ok(Self { connection, table: quoted, columns })
    }

    /// Begins to read these columns (`None`: a column of nulls), in the order of the first; also anew.
    pub async fn select(&mut self, columns: &[Option<String>]) -> Result<(), ForeignError> {
        let list: Vec<String> = columns
            .iter()
            .map(|column| column.as_ref().map_or_else(|| "null::text".to_owned(), |name| quoted(name) + "::text"))
            .collect();
        let by = columns.first().and_then(Option::as_ref).map_or_else(|| "1".to_owned(), |name| quoted(name));
        let sql = format!(
            "close all; declare foreign_rows no scroll cursor for select {} from {} order by {by}",
            list.join(", "),
            self.table
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await?;
        Ok(())
    }

    /// The next rows, at most `limit`; none at the end.
    pub async fn page(&mut self, limit: u16) -> Result<Vec<Vec<Option<String>>>, ForeignError> {
        let sql = format!("fetch {limit} from foreign_rows");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await?;
        rows.iter()
            .map(|row| (0..row.len()).map(|column| Ok(row.try_get(column)?)).collect::<Result<_, ForeignError>>())
            .collect()
    }
}

/// An identifier, whatever it holds.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(super::quoted("a\"; drop table b --"), "\"a\"\"; drop table b --\"");
    }
}
