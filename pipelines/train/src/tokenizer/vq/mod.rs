//! VAR's tokenizer (`kind: vq`): an auto-encoder of images whose codes are rows of a codebook.

mod config;
mod revival;
mod task;

pub(crate) use config::VqRun;
