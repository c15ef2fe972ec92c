//! Errors of this crate.

use std::path::{Path, PathBuf};

use nextscale_weights::WeightError;
use thiserror::Error;

/// Errors of this crate.
#[derive(Debug, Error)]
pub enum TextError {
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        reason: std::io::Error,
    },
    /// A weight file cannot be read, or its tensors are not those of the encoder.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// A model configuration is damaged or names an architecture other than the supported one.
    #[error("{}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A tokenizer file is damaged, or lacks `</s>` or `<pad>`.
    #[error("{}: {message}", path.display())]
    Vocab {
        /// The file, or a note if the tokenizer is in memory.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The tokenizer cannot encode this prompt.
    #[error("the prompt {prompt:?} could not be tokenized: {message}")]
    Prompt {
        /// The prompt.
        prompt: String,
        /// The error of the tokenizer.
        message: String,
    },
    /// A batch without prompts. (An empty prompt is allowed: it becomes `</s>` alone.)
    #[error("no prompt was given")]
    NoPrompt,
    /// The tokenizer has ids beyond the encoder's embedding table.
    #[error("the tokenizer has {vocab} ids, the encoder's embedding table {table} rows")]
    VocabTooLarge {
        /// Number of ids of the tokenizer.
        vocab: usize,
        /// Rows of the embedding table.
        table: usize,
    },
    /// Training a tokenizer failed.
    #[error("training the tokenizer: {0}")]
    Training(String),
}

impl TextError {
    pub(crate) fn io(path: &Path, reason: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            reason,
        }
    }
}
