//! Fine-tuning of models that exist (`kind: fine_tune`): the whole transformer, or low-rank adapters on it.
//!
//! Images and captions are encoded once, before training ([`encode`], [`cache`]); tokenizer and text encoder are not in memory after
//! that. Gradients are computed block by block unless the configuration says otherwise.
//!
//! | file | idea |
//! |---|---|
//! | `config` | the configuration |
//! | `family`, `infinity`, `var`, `infinity_star` | what the kinds of models do differently |
//! | `tuned` | what is trained: all of it, or adapters |
//! | `cache`, `encode`, `batches` | what was encoded, and batches of it |
//! | `memory` | what a run will take |
//! | `task`, `start` | loss, measurements, and how a run starts |
//! | `samples` | images during training |
//! | `export` | the result as files for others |

mod batches;
mod cache;
mod config;
mod encode;
mod export;
mod family;
mod infinity;
mod infinity_star;
mod memory;
mod samples;
mod start;
mod task;
mod tuned;
mod var;

pub(crate) use export::export;
pub use memory::MemoryOfRun;
pub(crate) use start::train_fine_tune;
