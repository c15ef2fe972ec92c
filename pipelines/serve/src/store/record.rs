//! A job as the database has it.

use nextscale_pipelines::PipelineError;
use nextscale_pipelines::yaml::Node;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use crate::update::Update;

/// What has become of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It waits.
    Queued,
    /// It is being painted.
    Running,
    /// All its images are there.
    Done,
    /// It could not be done.
    Failed,
    /// A client has stopped it.
    Cancelled,
}

impl State {
    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of a name, if it is one.
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [
            Self::Queued,
            Self::Running,
            Self::Done,
            Self::Failed,
            Self::Cancelled,
        ];
        all.into_iter().find(|state| state.name() == name)
    }

    /// The state after these updates.
    pub fn after(updates: &[Update]) -> Self {
        match updates.last() {
            Some(Update::Done) => Self::Done,
            Some(Update::Cancelled) => Self::Cancelled,
            Some(Update::Failed { .. }) => Self::Failed,
            Some(Update::Queued) | None => Self::Queued,
            Some(_) => Self::Running,
        }
    }
}

/// A job as the database has it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Jobs are numbered in the order in which they came.
    pub number: i64,
    pub id: String,
    /// The pipeline, in YAML.
    pub pipeline: String,
    /// What is the same for jobs that may be painted together; empty for one that is painted alone.
    pub family: String,
    /// How many times it was begun.
    pub attempts: i64,
    /// Seconds since 1970.
    pub created: i64,
    pub prompt: String,
    pub model: String,
    pub updates: Vec<Update>,
}

impl Record {
    pub(super) fn of(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let updates: String = row.try_get("updates")?;
        Ok(Self {
            number: row.try_get("number")?,
            id: row.try_get("id")?,
            pipeline: row.try_get("pipeline")?,
            family: row.try_get("family")?,
            attempts: row.try_get("attempts")?,
            created: row.try_get("created")?,
            prompt: row.try_get("prompt")?,
            model: row.try_get("model")?,
            updates: serde_json::from_str(&updates).unwrap_or_default(),
        })
    }

    /// The pipeline as a tree.
    pub fn node(&self) -> Result<Node, PipelineError> {
        Node::parse(&self.pipeline, "pipeline")
    }
}
