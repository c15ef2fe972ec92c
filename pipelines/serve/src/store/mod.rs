//! Jobs and gallery on disk: SQLite in the folder of the images or, for several servers, PostgreSQL.
//!
//! A job that waits is a row. Who takes it writes its name into it and gives a sign of life while it paints. Jobs of a server that gives none are
//! taken over. The database does the locking.

pub(crate) mod record;
mod sql;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{AnyPool, AssertSqlSafe, Executor, Row};

use crate::error::ServeError;
use crate::store::record::{Record, State};
use crate::store::sql::Sql;
use crate::update::Update;

/// The file of SQLite in the folder of the images.
const FILE: &str = "jobs.sqlite";
/// How long a request waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The jobs of one server, or of several.
#[derive(Debug)]
pub(crate) struct Store {
    pool: AnyPool,
    sql: Sql,
    /// The name of this server.
    worker: String,
    /// Whether other servers see the same jobs.
    is_shared: bool,
}

/// A job that is to wait.
#[derive(Debug, Clone)]
pub(crate) struct NewJob {
    pub id: String,
    pub client: String,
    pub pipeline: String,
    pub family: String,
    pub prompt: String,
    pub model: String,
}

/// What is wanted of the gallery.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// Words of the prompt.
    pub words: String,
    /// Only jobs with lower numbers.
    pub before: Option<i64>,
    pub state: Option<State>,
    /// At most so many.
    pub limit: i64,
}

impl Store {
    /// Opens the database in a folder, or the one at `address`, and makes its tables.
    pub async fn open(folder: &Path, address: Option<&str>) -> Result<Self, ServeError> {
        sqlx::any::install_default_drivers();
        let is_shared = address.is_some();
        let address = match address {
            Some(address) => address.to_owned(),
            None => file_address(&folder.join(FILE)),
        };
        let sql = if is_shared {
            Sql::postgres()
        } else {
            Sql::sqlite()
        };
        let failed = |cause| ServeError::Store { cause };
        let pool = AnyPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if !is_shared {
                        // A finished job survives a kill, also one in the middle of a write.
                        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000";
                        connection.execute(pragmas).await?;
                    }
                    Ok(())
                })
            })
            .connect(&address)
            .await
            .map_err(failed)?;
        for statement in &sql.create {
            // Two servers that start at once may both find no table.
            let made = sqlx::query(AssertSqlSafe(statement.clone()));
            if let Err(first) = made.execute(&pool).await {
                let again = sqlx::query(AssertSqlSafe(statement.clone()));
                again.execute(&pool).await.map_err(|_| failed(first))?;
            }
        }
        Ok(Self {
            pool,
            sql,
            worker: format!("{:016x}", rand::random::<u64>()),
            is_shared,
        })
    }

    /// Whether other servers see the same jobs.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Adds a job at the end of those of its client; false if `most` wait already.
    pub async fn submit(&self, job: &NewJob, most: usize) -> sqlx::Result<bool> {
        let query = sqlx::query(AssertSqlSafe(self.sql.submit.clone()))
            .bind(job.client.clone())
            .bind(job.id.clone())
            .bind(job.pipeline.clone())
            .bind(job.family.clone())
            .bind(job.prompt.clone())
            .bind(job.model.clone())
            .bind(as_number(most));
        Ok(query.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Takes the job whose turn it is.
    pub async fn claim(&self) -> sqlx::Result<Option<Record>> {
        let query = sqlx::query(AssertSqlSafe(self.sql.claim.clone())).bind(self.worker.clone());
        let row = query.fetch_optional(&self.pool).await?;
        row.as_ref().map(Record::of).transpose()
    }

    /// Takes up to `most` waiting jobs of a family.
    pub async fn claim_more(&self, family: &str, most: usize) -> sqlx::Result<Vec<Record>> {
        let query = sqlx::query(AssertSqlSafe(self.sql.claim_more.clone()))
            .bind(self.worker.clone())
            .bind(family.to_owned())
            .bind(as_number(most));
        let mut records = records(&query.fetch_all(&self.pool).await?)?;
        records.sort_unstable_by_key(|record| record.number);
        Ok(records)
    }

    /// Writes how a job ended; false if it is not this server's any more.
    pub async fn finish(&self, id: &str, updates: &[Update]) -> sqlx::Result<bool> {
        let state = State::after(updates).name();
        let query = sqlx::query(AssertSqlSafe(self.sql.finish.clone()))
            .bind(state.to_owned())
            .bind(as_text(updates))
            .bind(id.to_owned())
            .bind(self.worker.clone());
        Ok(query.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Writes what has happened to a job that runs here, as a sign of life.
    pub async fn write(&self, id: &str, updates: &[Update]) -> sqlx::Result<()> {
        let query = sqlx::query(AssertSqlSafe(self.sql.write.clone()))
            .bind(as_text(updates))
            .bind(id.to_owned())
            .bind(self.worker.clone());
        query.execute(&self.pool).await?;
        Ok(())
    }

    /// Puts jobs whose server is gone back into the queue.
    pub async fn take_over(&self) -> sqlx::Result<u64> {
        let query = sqlx::query(AssertSqlSafe(self.sql.take_over.clone()));
        Ok(query.execute(&self.pool).await?.rows_affected())
    }

    /// Puts what this server runs back into the queue.
    pub async fn give_back(&self) -> sqlx::Result<()> {
        let query = sqlx::query(sql::GIVE_BACK).bind(self.worker.clone());
        query.execute(&self.pool).await?;
        Ok(())
    }

    /// Jobs of this server that are to be stopped.
    pub async fn stopped(&self) -> sqlx::Result<Vec<String>> {
        let query = sqlx::query(sql::STOPPED).bind(self.worker.clone());
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    /// Takes a waiting job out; false if it does not wait.
    pub async fn cancel(&self, id: &str, updates: &[Update]) -> sqlx::Result<bool> {
        let query = sqlx::query(sql::CANCEL)
            .bind(id.to_owned())
            .bind(as_text(updates));
        Ok(query.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Asks whoever runs a job to stop it.
    pub async fn stop(&self, id: &str) -> sqlx::Result<()> {
        let query = sqlx::query(sql::STOP).bind(id.to_owned());
        query.execute(&self.pool).await?;
        Ok(())
    }

    /// Forgets a job that is over; false if it is not.
    pub async fn forget(&self, id: &str) -> sqlx::Result<bool> {
        let query = sqlx::query(sql::FORGET).bind(id.to_owned());
        Ok(query.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// A job.
    pub async fn find(&self, id: &str) -> sqlx::Result<Option<Record>> {
        let query = sqlx::query(AssertSqlSafe(self.sql.one.clone())).bind(id.to_owned());
        let row = query.fetch_optional(&self.pool).await?;
        row.as_ref().map(Record::of).transpose()
    }

    /// Jobs, the newest first.
    pub async fn list(&self, search: &Search) -> sqlx::Result<Vec<Record>> {
        let state = search.state.map_or("", State::name);
        let query = sqlx::query(AssertSqlSafe(self.sql.list.clone()))
            .bind(pattern(&search.words))
            .bind(search.before.unwrap_or(i64::MAX))
            .bind(state.to_owned())
            .bind(search.limit);
        records(&query.fetch_all(&self.pool).await?)
    }

    /// How many wait.
    pub async fn waiting(&self) -> sqlx::Result<i64> {
        sqlx::query(sql::WAITING)
            .fetch_one(&self.pool)
            .await?
            .try_get(0)
    }

    /// How many come before a job; none if it does not wait.
    pub async fn position(&self, id: &str) -> sqlx::Result<Option<i64>> {
        let query = sqlx::query(sql::POSITION).bind(id.to_owned());
        let row = query.fetch_optional(&self.pool).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn records(rows: &[AnyRow]) -> sqlx::Result<Vec<Record>> {
    rows.iter().map(Record::of).collect()
}

fn as_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn as_text(updates: &[Update]) -> String {
    serde_json::to_string(updates).unwrap_or_else(|_| "[]".to_owned())
}

/// A pattern for texts that have these words somewhere.
fn pattern(words: &str) -> String {
    let words = words.trim().to_lowercase();
    if words.is_empty() {
        return words;
    }
    let mut pattern = String::from("%");
    for letter in words.chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern + "%"
}

/// The address of a file of SQLite, which is made if it is not there.
fn file_address(path: &Path) -> String {
    let address = url::Url::from_file_path(path).map(String::from);
    let address = address.unwrap_or_default();
    address.replacen("file:", "sqlite:", 1) + "?mode=rwc"
}
