//! What can go wrong, always with the place and, where one is known, a way out.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nextscale_models::error::{ModelError, nearest};
use thiserror::Error;

/// Where a value was written: a file with line and column, or an option of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// File name, or the option as the user typed it.
    pub origin: Arc<str>,
    /// Line, from 1; 0 if the origin has no lines.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

impl Mark {
    /// A place that has no lines, such as an option of the command line.
    pub fn origin(origin: &str) -> Self {
        let origin = origin.into();
        let (line, column) = (0, 0);
        Self {
            origin,
            line,
            column,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.origin),
            line => write!(f, "{}:{line}:{}", self.origin, self.column),
        }
    }
}

/// One mistake in a pipeline: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The place of the mistake.
    pub mark: Mark,
    /// One sentence.
    pub message: String,
    /// A way out, if one is known.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A mistake at `mark`.
    pub fn new(mark: &Mark, message: impl Into<String>) -> Self {
        let (mark, message, hint) = (mark.clone(), message.into(), None);
        Self {
            mark,
            message,
            hint,
        }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.mark, self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// The message of a panic.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Every way in which a pipeline fails.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The pipeline as written is not valid. Nothing was loaded.
    #[error("{}", list(.0))]
    Invalid(Vec<Diagnostic>),
    /// A model or a file cannot be used, or something that was asked for is not possible here.
    #[error(transparent)]
    Model(ModelError),
    /// A stage failed while it ran.
    #[error("the stage `{stage}` failed: {message}")]
    Stage {
        /// Name of the stage.
        stage: String,
        /// What it said.
        message: String,
    },
    /// A stage panicked: a fault of the program.
    #[error("the stage `{stage}` failed in a way that is a fault of nextscale: {message}")]
    Panic {
        /// Name of the stage.
        stage: String,
        /// What the panic said.
        message: String,
    },
    /// The run was stopped on request; what was finished stays.
    #[error("stopped")]
    Cancelled,
}

impl PipelineError {
    /// A refusal without a way out.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Model(ModelError::refused(message))
    }

    /// A refusal with a way out.
    pub fn refused_with(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Model(ModelError::refused_with(message, hint))
    }

    /// A file whose content is not what it should be; `message` is the rest of a sentence that begins with its path.
    pub fn content(path: &Path, message: impl Into<String>, hint: Option<&str>) -> Self {
        Self::Model(ModelError::Content {
            path: path.to_owned(),
            message: message.into(),
            hint: hint.map(str::to_owned),
        })
    }

    /// Wraps an I/O error with what was tried and where.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let wrap = ModelError::io(action, path);
        move |source| Self::Model(wrap(source))
    }

    /// The way out, if one is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Invalid(all) => all.iter().find_map(|d| d.hint.as_deref()),
            Self::Model(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<Diagnostic> for PipelineError {
    fn from(one: Diagnostic) -> Self {
        Self::Invalid(vec![one])
    }
}

impl From<ModelError> for PipelineError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Cancelled => Self::Cancelled,
            error => Self::Model(error),
        }
    }
}

fn list(all: &[Diagnostic]) -> String {
    let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// "did you mean `x`?" or the list of what is known.
pub(crate) fn did_you_mean(word: &str, known: &[&str], what: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(k) => format!("did you mean `{k}`?"),
        None if known.is_empty() => format!("there is no {what} here"),
        None => format!("{what} here: {}", known.join(", ")),
    }
}
