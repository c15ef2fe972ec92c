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
//! | `optimizer` | AdamW, which parameters decay, clipping by global norm |
//! | `average` | exponential moving average of the weights |
//! | `prefetcher` | batches prepared in a thread |
//! | `checkpoint` | everything that a resumed run needs, written atomically |
//! | `log` | one JSON line per logged step |
//! | `parallel` | several batches of one step in parallel |
//! | `task`, `options` | what is trained, and how |
//! | `trainer` | the loop |
//! | `weighting` | how much the tokens of each scale count |

mod average;
mod checkpoint;
mod log;
mod optimizer;
mod options;
mod parallel;
mod prefetcher;
mod schedule;
mod task;
#[cfg(test)]
mod tests;
mod trainer;
mod weighting;

pub use average::WeightAverage;
pub use checkpoint::{Checkpoint, Progress, TrainError, latest};
pub use log::{LogLine, Measurements, TrainLog};
pub use optimizer::{AdamW, AdamWConfig, clip_by_global_norm};
pub use options::TrainOptions;
pub use prefetcher::{Batches, Prefetcher};
pub use schedule::{Budget, Decay, LearningRate};
pub use task::{Loss, Task};
pub use trainer::{Outcome, Trainer};
pub use weighting::ScaleWeighting;
