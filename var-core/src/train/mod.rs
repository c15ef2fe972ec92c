//! Training: one engine for every model.
//!
//! A [`Task`] defines model, batch and loss; a [`Batches`] makes the batch of a step; the [`Trainer`] does the rest. One step is
//!
//! ```text
//! batch(step) ─► loss ─► backward ─► clip by global norm ─► AdamW ─► moving average
//! ```
//!
//! Everything random is derived from `(seed, step)`, never from a running generator, so a run that was killed and resumed
//! from its last checkpoint has the same loss curve.
//!
//! | file | idea |
//! |---|---|
//! | `schedule` | learning rate over the budget (steps or minutes) |
//! | `optimizer`, `adamw`, `moments` | AdamW, which parameters decay; moments in 32, 16 or 8 bits |
//! | `muon` | Muon for the hidden matrices |
//! | `clip` | clipping by global norm |
//! | `average` | exponential moving average of the weights |
//! | `chain` | gradient checkpointing by block |
//! | `trained`, `adapters` | the weights of a transformer in training: all of them, or low-rank adapters on them |
//! | `drop_path` | stochastic depth |
//! | `prefetcher` | batches prepared in a thread |
//! | `checkpoint` | everything that a resumed run needs, written atomically |
//! | `log` | one JSON line per logged step |
//! | `passes` | passes over all parameters, in place and on all cores |
//! | `parallel`, `workers` | several batches of one step in parallel |
//! | `ranks`, `shards` | several processes for one step, each with a part of the optimiser |
//! | `task`, `options` | what is trained, and how |
//! | `trainer` | the loop |
//! | `weighting` | how much the tokens of each scale count |

mod adamw;
mod adapters;
mod average;
mod chain;
mod checkpoint;
mod clip;
mod drop_path;
mod log;
mod moments;
mod muon;
mod optimizer;
mod options;
mod parallel;
mod passes;
mod prefetcher;
mod ranks;
mod schedule;
mod shards;
mod task;
#[cfg(test)]
mod tests;
mod trained;
mod trainer;
mod weighting;
mod workers;

pub use adapters::{Adapter, Adapters, LoraConfig};
pub use average::WeightAverage;
pub use chain::{Activations, Chain, add_gradients, gradients_as_ready, gradients_by_block};
pub use checkpoint::{Checkpoint, Progress, TrainError, latest};
pub use clip::clip_by_global_norm;
pub use drop_path::DropPath;
pub use log::{LogLine, Measurements, TrainLog};
pub use moments::MomentFormat;
pub use muon::MuonConfig;
pub use optimizer::{AdamW, AdamWConfig};
pub use options::TrainOptions;
pub use prefetcher::{Batches, Prefetcher};
pub use ranks::Ranks;
pub use schedule::{Budget, Decay, LearningRate};
pub use task::{Apart, Loss, Task};
pub use trained::{Adapted, Trained, Whole};
pub use trainer::{Observed, Outcome, Trainer};
pub use weighting::ScaleWeighting;
