//! How it is trained.

use serde::{Deserialize, Serialize};

use super::muon::MuonConfig;
use super::optimizer::AdamWConfig;
use super::schedule::{Budget, LearningRate};

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainOptions {
    /// When to stop.
    pub budget: Budget,
    /// Learning rate over the budget.
    pub learning_rate: LearningRate,
    /// The optimiser.
    #[serde(default)]
    pub adamw: AdamWConfig,
    /// Updates the matrices of hidden layers by Muon, with the decay and the clipping of `adamw`, which updates the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muon: Option<MuonConfig>,
    /// Decay of the weight average; 0 keeps none, and the weights of the last step are exported.
    #[serde(default = "default_average")]
    pub average_decay: f64,
    /// Steps between two lines of the log.
    #[serde(default = "default_log")]
    pub log_every: u64,
    /// Steps between two evaluations; 0 evaluates only at the end.
    #[serde(default = "default_evaluate")]
    pub evaluate_every: u64,
    /// Minutes between two checkpoints.
    #[serde(default = "default_checkpoint")]
    pub checkpoint_minutes: f64,
    /// Batches per step, computed in parallel on a thread each, with averaged gradients: on the CPU as many as it has cores
    /// are fastest, on a GPU 1.
    #[serde(default = "default_parallel")]
    pub parallel: usize,
    /// Rounds of batches per step, computed one after the other, with averaged gradients: a step of `parallel * accumulate`
    /// batches in the memory of `parallel`.
    #[serde(default = "default_accumulate")]
    pub accumulate: usize,
    /// Share the optimiser's moments between the processes of a run, each of which holds a part (ZeRO, stage 1).
    #[serde(default)]
    pub shard_optimizer: bool,
    /// Checkpoints to keep.
    #[serde(default = "default_keep")]
    pub keep: usize,
}

impl TrainOptions {
    /// Batches of a step.
    pub fn batches_of_step(&self) -> usize {
        self.parallel.max(1) * self.accumulate.max(1)
    }

    /// The step, from 0, that the batch `number` of a run belongs to.
    pub fn step_of(&self, number: u64) -> u64 {
        number / self.batches_of_step() as u64
    }
}

fn default_average() -> f64 {
    0.999
}
fn default_log() -> u64 {
    10
}
fn default_evaluate() -> u64 {
    500
}
fn default_checkpoint() -> f64 {
    5.0
}
fn default_parallel() -> usize {
    1
}
fn default_accumulate() -> usize {
    1
}

fn default_keep() -> usize {
    2
}
