//! VAR (`kind: var`): a transformer of classes on the codes of a frozen tokenizer with a codebook.
//!
//! One label in ten is replaced by "no class", for classifier-free guidance.

mod config;
mod export;
mod load;
mod task;

pub(crate) use config::VarRun;
pub(crate) use export::export;
pub use load::{TrainedVar, trained_var};
