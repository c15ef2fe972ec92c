//! Checkpoints in the layout of the released models: reading, strictly, and writing.
//!
//! A [`Rule`] says which of our parameters a tensor of the file holds; the same rules serve both ways.

mod file;
mod var;

use std::path::PathBuf;

use thiserror::Error;

pub use file::{Export, WeightDtype, WeightFile, block_name};
pub use var::{load_var, read_var, save_var, var_config};

/// Why weights could not be read or written.
#[derive(Debug, Error)]
pub enum WeightError {
    /// The file cannot be opened, or is not what its name says.
    #[error("{path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The tensors of the file are not those of the model.
    #[error("{path} does not fit the model: missing {missing:?}, not known {unused:?}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// Tensors of the model that the file lacks.
        missing: Vec<String>,
        /// Tensors of the file that the model lacks.
        unused: Vec<String>,
    },
    /// A tensor has another shape or type than the model's.
    #[error("{path} does not fit the model: {reasons:?}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// One sentence a tensor.
        reasons: Vec<String>,
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

/// One tensor of a checkpoint and what it is to us.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name in the file.
    pub official: &'static str,
    /// Our parameters, stacked along the first axis in the file; none for a buffer of zeros.
    pub ours: &'static [&'static str],
}

/// A [`Rule`].
pub const fn rule(official: &'static str, ours: &'static [&'static str]) -> Rule {
    Rule { official, ours }
}
