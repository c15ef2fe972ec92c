//! What is asked of the database, in the dialect of SQLite or of PostgreSQL.

/// The columns that a [`Record`](super::record::Record) is made from.
const COLUMNS: &str = "number, id, pipeline, family, attempts, created, prompt, model, updates";

/// Milliseconds without a sign of life after which the job of a server is taken over.
const DEAD: i64 = 10_000;

/// The statements that depend on the dialect or are put together.
#[derive(Debug)]
pub(crate) struct Sql {
    pub create: [String; 3],
    /// Client, id, pipeline, family, prompt, model, most that wait.
    pub submit: String,
    /// Worker.
    pub claim: String,
    /// Worker, family, how many.
    pub claim_more: String,
    /// State, updates, id, worker.
    pub finish: String,
    /// Updates, id, worker.
    pub write: String,
    pub take_over: String,
    /// Id.
    pub one: String,
    /// Words, number, state, how many.
    pub list: String,
}

impl Sql {
    /// For SQLite, of which this program is the only user.
    pub fn sqlite() -> Self {
        Self::new(
            "INTEGER PRIMARY KEY AUTOINCREMENT",
            "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            "",
            "state = 'running'",
        )
    }

    /// For PostgreSQL, which several servers share.
    pub fn postgres() -> Self {
        let now = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        Self::new(
            "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            now,
            "FOR UPDATE SKIP LOCKED",
            &format!("state = 'running' AND alive < {now} - {DEAD}"),
        )
    }

    /// `key`: the type of a number that counts up. `now`: milliseconds since 1970. `lock`: keeps chosen rows from other servers. `lost`: what jobs
    /// fulfil whose server is gone.
    fn new(key: &str, now: &str, lock: &str, lost: &str) -> Self {
        let text = "TEXT NOT NULL DEFAULT ''";
        let number = "BIGINT NOT NULL DEFAULT 0";
        // The next job is the first of the client whose turn it is: jobs of one client have turns one after the other, and a new client begins
        // with the turn that is next.
        let claim = |which: &str| {
            format!(
                "UPDATE jobs SET state = 'running', worker = $1, alive = {now}, attempts = attempts + 1
                 WHERE number IN ({which}) AND state = 'queued' RETURNING {COLUMNS}"
            )
        };
        let first = format!(
            "SELECT number FROM jobs WHERE state = 'queued' ORDER BY turn, number LIMIT 1 {lock}"
        );
        let more = format!(
            "SELECT number FROM jobs WHERE state = 'queued' AND family = $2 AND attempts = 0 ORDER BY turn, number LIMIT $3 {lock}"
        );
        // Without this, PostgreSQL may choose again for every row that it looks at.
        let chosen =
            |select: &str, claim: &str| format!("WITH chosen AS MATERIALIZED ({select}) {claim}");
        let of_chosen = claim("SELECT number FROM chosen");
        Self {
            create: [
                format!(
                    "CREATE TABLE IF NOT EXISTS jobs (number {key}, id TEXT NOT NULL UNIQUE, client {text}, pipeline {text}, family {text},
                     prompt {text}, model {text}, state {text}, turn {number}, attempts {number}, worker {text}, alive {number},
                     stop {number}, created {number}, updates TEXT NOT NULL DEFAULT '[]')"
                ),
                "CREATE INDEX IF NOT EXISTS jobs_by_turn ON jobs (state, turn, number)".to_owned(),
                "CREATE INDEX IF NOT EXISTS jobs_by_worker ON jobs (worker, state)".to_owned(),
            ],
            submit: format!(
                "INSERT INTO jobs (client, id, pipeline, family, prompt, model, state, created, updates, turn)
                 SELECT $1, $2, $3, $4, $5, $6, 'queued', {now} / 1000, '[{{\"event\":\"queued\"}}]',
                     CASE WHEN own >= first THEN own + 1 ELSE first END
                 FROM (SELECT
                     COALESCE((SELECT MAX(turn) FROM jobs WHERE state = 'queued' AND client = $1), 0) AS own,
                     COALESCE((SELECT MIN(turn) FROM jobs WHERE state = 'queued'), 1) AS first) AS turns
                 WHERE (SELECT COUNT(*) FROM jobs WHERE state = 'queued') < $7"
            ),
            claim: chosen(&first, &of_chosen),
            claim_more: chosen(&more, &of_chosen),
            finish: "UPDATE jobs SET state = $1, updates = $2 WHERE id = $3 AND worker = $4 AND state = 'running'".to_owned(),
            write: format!("UPDATE jobs SET updates = $1, alive = {now} WHERE id = $2 AND worker = $3 AND state = 'running'"),
            take_over: format!("UPDATE jobs SET state = 'queued', worker = '' WHERE {lost}"),
            one: format!("SELECT {COLUMNS} FROM jobs WHERE id = $1"),
            list: format!(
                "SELECT {COLUMNS} FROM jobs WHERE ($1 = '' OR LOWER(prompt) LIKE $1 ESCAPE '!') AND number < $2 AND ($3 = '' OR state = $3)
                 ORDER BY number DESC LIMIT $4"
            ),
        }
    }
}

/// How many wait.
pub(crate) const WAITING: &str = "SELECT COUNT(*) FROM jobs WHERE state = 'queued'";
/// How many come before the waiting job $1; no row if it does not wait.
pub(crate) const POSITION: &str =
    "SELECT (SELECT COUNT(*) FROM jobs AS before WHERE before.state = 'queued'
        AND (before.turn < own.turn OR (before.turn = own.turn AND before.number < own.number)))
     FROM jobs AS own WHERE own.id = $1 AND own.state = 'queued'";
/// Takes the waiting job $1 out.
pub(crate) const CANCEL: &str =
    "UPDATE jobs SET state = 'cancelled', updates = $2 WHERE id = $1 AND state = 'queued'";
/// Asks whoever runs the job $1 to stop it.
pub(crate) const STOP: &str = "UPDATE jobs SET stop = 1 WHERE id = $1 AND state = 'running'";
/// Jobs of the worker $1 that are to be stopped.
pub(crate) const STOPPED: &str =
    "SELECT id FROM jobs WHERE worker = $1 AND state = 'running' AND stop = 1";
/// Puts the jobs that the worker $1 runs back into the queue.
pub(crate) const GIVE_BACK: &str = "UPDATE jobs SET state = 'queued', worker = '', attempts = attempts - 1 WHERE worker = $1 AND state = 'running'";
/// Forgets the job $1, if it is over.
pub(crate) const FORGET: &str =
    "DELETE FROM jobs WHERE id = $1 AND state <> 'queued' AND state <> 'running'";
