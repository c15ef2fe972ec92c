//! What a run will take, told before it starts.

use std::fmt;

use burn::module::Module;
use nextscale_var_core::blocks::{self, BlockStorage, Transformer};
use nextscale_var_core::train::LoraConfig;

use super::config::{FineTuneConfig, Storage};

/// Tensors of the residual stream's size that one recorded block keeps: norms, queries, keys and values, both attentions, and the
/// feed-forward's hidden units, with their gradients.
const STREAMS_OF_A_BLOCK: usize = 60;
/// Copies of the attention scores: before and after the softmax, and their gradients.
const SCORES_OF_A_BLOCK: usize = 4;

/// Bytes of the parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryOfRun {
    /// The weights of the model.
    pub weights: u64,
    /// The gradients, the moments and the average of what is trained.
    pub optimizer: u64,
    /// What a step keeps for its backward pass.
    pub activations: u64,
    /// Numbers that are trained.
    pub trained: u64,
}

impl MemoryOfRun {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.optimizer + self.activations
    }
}

impl fmt::Display for MemoryOfRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        write!(
            f,
            "about {:.2} GiB: weights {:.2}, gradients and optimiser {:.2}, activations {:.2}",
            gib(self.total()),
            gib(self.weights),
            gib(self.optimizer),
            gib(self.activations)
        )
    }
}

/// What a run of a transformer of this shape takes in each of `world` processes; `largest` are heads, channels, and tokens of the
/// longest sequence.
pub(super) fn estimate<T: Transformer>(
    config: &FineTuneConfig,
    shape: &T,
    largest: [usize; 3],
    world: usize,
) -> MemoryOfRun {
    let (all, depth) = (shape.num_params(), shape.depth());
    let block = shape.block(0).num_params();
    let (in_blocks, outside) = (block * depth, all - block * depth);
    let (storage, size) = match config.storage {
        Storage::F32 => (BlockStorage::Loaded, 4),
        Storage::Bf16 => (BlockStorage::Loaded, 2),
        Storage::Int8 => (BlockStorage::Int8, 2),
        Storage::Stream => (BlockStorage::Streamed, 2),
    };
    let weights = blocks::bytes(storage, in_blocks, block, outside, size);
    let parallel = config.train.parallel.max(1);
    let (trained, in_f32) = match &config.lora {
        None => (all, 0),
        // A block is converted while it computes, for each batch that is computed at the same time.
        Some(lora) => (
            adapted(lora, &*shape.block(0)) * depth,
            4 * block * parallel,
        ),
    };
    let average = if config.train.average_decay == 0.0 {
        0
    } else {
        4
    };
    let rounds = if config.train.accumulate > 1 { 2 } else { 1 };
    let gradients = 4 * trained * (rounds + parallel - 1);
    let own = if config.lora.is_some() {
        4 * trained
    } else {
        0
    };
    let moments = config.train.adamw.states.bytes(trained);
    let moments = if config.train.shard_optimizer {
        moments.div_ceil(world)
    } else {
        moments
    };
    let [heads, width, tokens] = largest;
    let stream = 4 * config.batch * tokens * width;
    let scores = 4 * config.batch * heads * tokens * tokens;
    let recorded = STREAMS_OF_A_BLOCK * stream + SCORES_OF_A_BLOCK * scores;
    let kept = if config.gradient_checkpointing {
        recorded + depth * stream
    } else {
        recorded * depth
    };
    MemoryOfRun {
        weights: (weights + in_f32) as u64,
        optimizer: (gradients + own + moments + average * trained) as u64,
        activations: (kept * parallel) as u64,
        trained: trained as u64,
    }
}

/// Numbers of the adapters of one block.
fn adapted<B: blocks::Block>(lora: &LoraConfig, block: &B) -> usize {
    let shapes = lora.shapes(block).unwrap_or_default().into_iter();
    shapes
        .map(|[inputs, outputs]| lora.rank * (inputs + outputs))
        .sum()
}
