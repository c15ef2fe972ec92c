//! Training: one engine for every model.
//!
//! A [`Task`] says what a model, a batch and a loss are; a [`Batches`] makes the batch of a step;
//! the [`Trainer`] does the rest. One step is
//!
//! ```text
//! batch(step) ─► loss ─► backward ─► clip by global norm ─► AdamW ─► moving average
//! ```
//!
//! Everything random comes from `(seed, step)`, never from a running generator, so a run that was
//! killed and resumed from its last checkpoint walks the same loss curve.
//!
//! | file | idea |
//! |---|---|
//! | `schedule` | learning rate over the budget (steps or minutes) |
//! | `optimizer` | AdamW, which parameters decay, clipping by global norm |
//! | `average` | exponential moving average of the weights |
//! | `feed` | batches made ahead in a thread |
//! | `checkpoint` | what a resumed run needs, written whole or not at all |
//! | `log` | one JSON line a step |
//! | `parallel` | several batches of one step side by side |
//! | `trainer` | the loop |
//! | `weighting` | how much the tokens of each scale count |

mod average;
mod checkpoint;
mod feed;
mod log;
mod optimizer;
mod parallel;
mod schedule;
#[cfg(test)]
mod tests;
mod trainer;
mod weighting;

pub use average::WeightAverage;
pub use checkpoint::{Checkpoint, Progress, TrainError, latest};
pub use feed::{Batches, Feed};
pub use log::{LogLine, Measurements, TrainLog};
pub use optimizer::{AdamW, AdamWConfig, clip_by_global_norm};
pub use schedule::{Budget, Decay, LearningRate};
pub use trainer::{Loss, Outcome, Task, TrainOptions, Trainer};
pub use weighting::ScaleWeighting;
