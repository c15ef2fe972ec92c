//! The configurations of the runs.

use std::path::Path;

use super::options::{ScalingOptions, VarSize};

/// Images of a step: two threads with half of them each.
pub(super) const BATCH: u64 = 32;

/// A path in YAML.
fn quoted(path: &Path) -> String {
    serde_json::to_string(&path.to_string_lossy()).unwrap_or_default()
}

/// The tokenizer: that of the Fashion-MNIST example, for images of 32 x 32 pixels.
pub(super) fn tokenizer(options: &ScalingOptions) -> String {
    let (data, minutes) = (quoted(&options.data), options.tokenizer_minutes);
    format!(
        "kind: vq
data: {data}
seed: {seed}
batch: 16
augment: {{ colour: 0, flip: 0, keep: 1 }}
model: {{ vocabulary: 512, channels: 16, base_channels: 16, mult: [1, 2, 4], blocks: 1, phis: 4, phi_ratio: 0.5, norm_groups: 8 }}
scales: [[1, 1], [2, 2], [3, 3], [5, 5], [8, 8]]
loss: {{ l1: 0.5, l2: 5.0, edge: 0.25, quantiser: 1.0, beta: 0.25 }}
revival: {{ after_steps: 100, every_steps: 20, until: 0.8 }}
train:
  parallel: 2
  budget: {{ minutes: {minutes} }}
  learning_rate: {{ peak: 1.2e-3, warmup_steps: 50, decay: cosine, end: 0.01 }}
  adamw: {{ beta_1: 0.9, beta_2: 0.97, weight_decay: 0.005, clip_norm: 1.0 }}
  average_decay: 0.995
  log_every: 10
  evaluate_every: 250
",
        seed = options.seed
    )
}

/// A transformer of a size.
pub(super) fn transformer(options: &ScalingOptions, tokenizer: &Path, size: VarSize) -> String {
    let (data, tokenizer) = (quoted(&options.data), quoted(tokenizer));
    let VarSize { width, depth } = size;
    let (heads, steps) = (width / VarSize::HEAD, options.images.div_ceil(BATCH).max(1));
    let evaluate = (steps / 12).max(1);
    format!(
        "kind: var
data: {data}
tokenizer: {tokenizer}
seed: {seed}
batch: {half}
augment: {{ colour: 0, flip: 0, keep: 1 }}
model: {{ width: {width}, depth: {depth}, heads: {heads} }}
condition_drop: 0.1
train:
  parallel: 2
  budget: {{ steps: {steps} }}
  learning_rate: {{ peak: 1.5e-3, warmup_steps: {warmup}, decay: cosine, end: 0.1 }}
  adamw: {{ beta_1: 0.9, beta_2: 0.95, weight_decay: 0.05, clip_norm: 2.0 }}
  average_decay: 0.99
  log_every: 10
  evaluate_every: {evaluate}
",
        seed = options.seed,
        half = BATCH / 2,
        warmup = (steps / 20).clamp(1, 100),
    )
}
