//! Configurations of tiny runs. `FOLDER` is the folder of the test, and `LOSS` a line of its own for the loss.

/// A tokenizer of bits on two threads.
pub(crate) const BITS: &str = "\
data: FOLDER/data
seed: 1
batch: 2
augment: { keep: 1, flip: 0, colour: 0 }
model:
  bits: 4
  base_channels: 8
  encoder_mult: [1, 2]
  decoder_mult: [1, 2]
  encoder_blocks: 1
  decoder_blocks: 1
  norm_groups: 4
  pixel_patch: 2
scales: [[4, 4], [8, 8]]
LOSS
train:
  parallel: 2
  budget: { steps: 8 }
  learning_rate: { peak: 2.0e-3, decay: constant }
  average_decay: 0.9
  log_every: 1
";

/// A tokenizer with a codebook, without average.
pub(crate) const CODES: &str = "\
kind: vq
data: FOLDER/data
seed: 1
batch: 2
augment: { keep: 1, flip: 0, colour: 0 }
model:
  vocabulary: 24
  channels: 6
  base_channels: 8
  mult: [1, 2, 2]
  blocks: 1
  phis: 2
  phi_ratio: 0.5
  norm_groups: 4
scales: [[1, 1], [4, 4], [8, 8]]
LOSS
train:
  budget: { steps: 8 }
  learning_rate: { peak: 2.0e-3, decay: constant }
  average_decay: 0
  log_every: 1
";

/// A tokenizer of clips.
pub(crate) const CLIPS: &str = "\
kind: causal
data: FOLDER/data
seed: 7
batch: 1
clips: { frames: 5 }
window: 5
model:
  channels: [4, 8, 8]
  levels: [space_time, time]
  encoder_blocks: 1
  decoder_blocks: 1
  latent: 4
  pixel_patch: 4
semantic_bits: 4
scales: [[1, 1], [2, 2]]
layout: { image_repeats: [1, 1], clip_repeats: [1, 1], semantic_scales: 1, clip_frames: 1 }
LOSS
train:
  budget: { steps: 6 }
  learning_rate: { peak: 1.0e-3, decay: constant }
  average_decay: 0.9
  log_every: 1
";

/// A transformer on the codes of the run `whole`.
pub(crate) const CLASSES: &str = "\
kind: var
data: FOLDER/data
tokenizer: FOLDER/whole
name: stripes
batch: 2
augment: { keep: 1, flip: 0, colour: 0 }
model: { width: 32, depth: 1, heads: 2 }
train:
  budget: { steps: 1 }
  learning_rate: { peak: 1.0e-3 }
  log_every: 1
";
