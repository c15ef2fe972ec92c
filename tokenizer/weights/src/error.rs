//! What can go wrong with weight files.

use std::path::{Path, PathBuf};

use burn::store::ApplyError;
use thiserror::Error;

/// Why weights could not be read or written.
#[derive(Debug, Error)]
pub enum WeightError {
    /// The file cannot be opened, is damaged, or is not what its name says.
    #[error("{path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The tensors of the file are not those of the model.
    #[error("{path} does not fit the model: {}", keys(.missing, .unused))]
    Keys {
        /// The file.
        path: PathBuf,
        /// Tensors of the model that the file lacks.
        missing: Vec<String>,
        /// Tensors of the file that the model does not have.
        unused: Vec<String>,
    },
    /// A tensor has another shape or type than the model's.
    #[error("{path} does not fit the model: {}", list(.reasons))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// One sentence per tensor.
        reasons: Vec<String>,
    },
    /// Some numbers are NaN or infinite.
    #[error(
        "{path} is damaged: {} numbers that are not finite (NaN, infinite, or too large for the number format)",
        holders(.tensors)
    )]
    Numbers {
        /// The file.
        path: PathBuf,
        /// The tensors.
        tensors: Vec<String>,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// Why the sizes of a model cannot be read from the shapes of its tensors.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// A tensor that every such model has is missing.
    #[error("it is not {model}: it has no `{name}`")]
    Missing {
        /// The kind of model, with its article.
        model: &'static str,
        /// The tensor.
        name: String,
    },
    /// A tensor has another number of axes.
    #[error("`{name}` has shape {shape:?}, not {rank} axes")]
    Rank {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of axes that it should have.
        rank: usize,
    },
    /// The shapes fit no released model, for the reason given.
    #[error("{0}")]
    Unreleased(String),
}

impl WeightError {
    /// [`WeightError::Read`] of `path`.
    pub fn read(path: &Path, reason: impl ToString) -> Self {
        Self::Read {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// [`WeightError::Write`] of `path`.
    pub fn write(path: &Path, reason: impl ToString) -> Self {
        Self::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// What a file lacks, and what it should not have.
fn keys(missing: &[String], unused: &[String]) -> String {
    let parts = [("missing", missing), ("unknown", unused)];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts = parts.map(|(kind, names)| format!("{kind}: {}", list(names)));
    parts.collect::<Vec<_>>().join("; ")
}

/// The first few names, and how many more there are.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 4;
    if names.len() <= SHOWN {
        return names.join(", ");
    }
    let more = names.len() - SHOWN;
    format!("{} and {more} more", names[..SHOWN].join(", "))
}

/// The first tensor and how many more, with the verb that goes with them.
fn holders(tensors: &[String]) -> String {
    let first = tensors.first().map_or("?", String::as_str);
    match tensors.len() {
        0 | 1 => format!("`{first}` holds"),
        n => format!("`{first}` and {} more tensors hold", n - 1),
    }
}

/// A sentence about a tensor that does not fit.
pub(crate) fn misfit(error: &ApplyError, official: impl Fn(&str) -> String) -> String {
    match error {
        ApplyError::ShapeMismatch {
            path,
            expected,
            found,
        } => format!(
            "`{}` has shape {:?}, not {:?}",
            official(path),
            found.to_vec(),
            expected.to_vec()
        ),
        ApplyError::DTypeMismatch {
            path,
            expected,
            found,
        } => format!("`{}` holds {found:?}, not {expected:?}", official(path)),
        other => other.to_string(),
    }
}
