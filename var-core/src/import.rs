//! Checkpoints in the layout of the released models: reading, strictly, and writing.
//!
//! A [`Rule`] says which of our parameters a tensor of the file holds; the same rules serve both ways.

mod file;
mod stream;
mod var;

use std::collections::BTreeMap;
use std::path::PathBuf;

use thiserror::Error;

pub use file::{Export, WeightDtype, WeightFile, block_name};
pub use stream::StreamError;
pub use var::{load_var, read_var, save_var, var_config, var_keys};

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
    #[error("{path} does not fit the model: missing {}, not known {}", list(.missing), list(.unused))]
    Keys {
        /// The file.
        path: PathBuf,
        /// Tensors of the model that the file lacks.
        missing: Vec<String>,
        /// Tensors of the file that the model lacks.
        unused: Vec<String>,
    },
    /// A tensor has another shape or type than the model's.
    #[error("{path} does not fit the model: {}", list(.reasons))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// One sentence a tensor.
        reasons: Vec<String>,
    },
    /// Some numbers are none.
    #[error("{path} is damaged: {} no finite numbers (NaN, infinite, or too large for the number type)", nextscale_tokenizer::import::damaged(.tensors))]
    Numbers {
        /// The file.
        path: PathBuf,
        /// The tensors, by our names.
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

/// The first of them, and how many more.
fn list(all: &[String]) -> String {
    const SHOWN: usize = 4;
    match all.len() {
        0 => "nothing".to_owned(),
        n if n <= SHOWN => all.join(", "),
        n => format!("{} and {} more", all[..SHOWN].join(", "), n - SHOWN),
    }
}

/// One tensor of a checkpoint and what it is to us.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name in the file.
    pub official: &'static str,
    /// Our parameters, stacked along the first axis in the file; none for a buffer of zeros.
    pub ours: &'static [&'static str],
}

/// Names and shapes of the tensors under `official` that hold our parameters under `ours`, of these shapes; buffers of zeros
/// have `width` numbers.
pub fn official_keys(
    rules: &[Rule],
    official: &str,
    ours: &str,
    shapes: &BTreeMap<String, Vec<usize>>,
    width: usize,
) -> Vec<(String, Vec<usize>)> {
    let key = |rule: &Rule| {
        let mut parts = rule
            .ours
            .iter()
            .filter_map(|name| shapes.get(&format!("{ours}{name}")));
        let shape = match parts.next() {
            None => vec![width],
            Some(first) => {
                let mut shape = first.clone();
                shape[0] += parts.map(|part| part[0]).sum::<usize>();
                shape
            }
        };
        (format!("{official}{}", rule.official), shape)
    };
    rules.iter().map(key).collect()
}

/// A [`Rule`].
pub const fn rule(official: &'static str, ours: &'static [&'static str]) -> Rule {
    Rule { official, ours }
}
