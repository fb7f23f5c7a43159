//! The self-test of connections: no process serves when its statements would not get their own answers.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::StoreError;
use super::db::{CONNECT_TIMEOUT, Db, connect};

/// Looks at each of two connections during the self-test.
const SELF_TEST_ROUNDS: i32 = 3;

/// Why no statement may be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum PoolerError {
    #[error("the database URL cannot be used: {0}")]
    Url(sqlx::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error(
        "two connections share one Postgres process, so a pooler in transaction mode is between: set DATABASE_POOLER=transaction"
    )]
    Shared,
    #[error(
        "DATABASE_POOLER is transaction, but statements do not get their own answers ({0}): the pooler must be in transaction mode"
    )]
    Crossed(String),
}

impl PoolerError {
    /// Whether the same settings may work a moment later: the database is away.
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

impl From<sqlx::Error> for PoolerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Db {
    /// Sends statements over two connections and fails when they do not get their own answers.
    pub async fn self_test(&self) -> Result<(), PoolerError> {
        match self.direct() {
            Some(pool) => test_servers(&pool.connect_options()).await,
            None => self.test_answers().await,
        }
    }

    /// Two statements that are answered in different types, again and again and side by side.
    async fn test_answers(&self) -> Result<(), PoolerError> {
        let numbers = async {
            for number in 0..SELF_TEST_ROUNDS {
                let sent = sqlx::query_scalar::<_, i32>("select $1::int4 + 1").bind(number);
                own_answer(sent.fetch_one(self).await, &(number + 1))?;
            }
            Ok(())
        };
        let words = async {
            for word in ["one", "two", "three"] {
                let sent = sqlx::query_scalar::<_, String>("select upper($1::text)").bind(word);
                own_answer(sent.fetch_one(self).await, &word.to_uppercase())?;
            }
            Ok(())
        };
        tokio::try_join!(numbers, words).map(drop)
    }
}

/// Two connections, each at its own Postgres process and always at the same.
async fn test_servers(options: &PgConnectOptions) -> Result<(), PoolerError> {
    let (mut one, mut other) = tokio::try_join!(connect(options, CONNECT_TIMEOUT), connect(options, CONNECT_TIMEOUT))?;
    let own = are_apart(&mut one, &mut other).await?;
    // What is left of them is of no interest.
    let _ = tokio::join!(one.close(), other.close());
    if own { Ok(()) } else { Err(PoolerError::Shared) }
}

/// Whether two connections have a Postgres process each and keep it. Asked without preparing anything, which would stay.
pub(super) async fn are_apart(one: &mut PgConnection, other: &mut PgConnection) -> sqlx::Result<bool> {
    let mut seen: Option<(i32, i32)> = None;
    for _ in 0..SELF_TEST_ROUNDS {
        let now = (process(one).await?, process(other).await?);
        if now.0 == now.1 || seen.is_some_and(|before| before != now) {
            return Ok(false);
        }
        seen = Some(now);
    }
    Ok(true)
}

async fn process(connection: &mut PgConnection) -> sqlx::Result<i32> {
    use sqlx::Row as _;
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// Whether an answer is the wanted one; an error that no statement of the self-test can cause is somebody else's answer.
fn own_answer<T: PartialEq>(given: sqlx::Result<T>, wanted: &T) -> Result<(), PoolerError> {
    /// A statement that is there already, or one that is not there: the marks of somebody else's.
    const FOREIGN: [&str; 2] = ["42P05", "26000"];
    /// What PgBouncer says of `begin` when every statement goes to some server.
    const STATEMENT_MODE: &str = "statement pooling";
    match given {
        Ok(given) if given == *wanted => Ok(()),
        Ok(_) => Err(PoolerError::Crossed("one got another's".to_owned())),
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| FOREIGN.contains(&&*code))
                || error.message().contains(STATEMENT_MODE) =>
        {
            Err(PoolerError::Crossed(error.message().to_owned()))
        }
        Err(
            error @ (sqlx::Error::Protocol(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound),
        ) => Err(PoolerError::Crossed(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
