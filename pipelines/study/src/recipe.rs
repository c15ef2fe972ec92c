//! The configurations of the runs of a study.

use std::path::Path;

/// Images of a step: two threads with half of them each.
pub(crate) const BATCH: u64 = 32;
/// Cells along a side of the latent.
pub(crate) const LATENT: usize = 8;

/// What all runs of a study share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe<'a> {
    /// Folder of the data set.
    pub data: &'a Path,
    /// The seed.
    pub seed: u64,
}

/// A transformer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transformer<'a> {
    /// `var`, `raster` or `dit`.
    pub kind: &'a str,
    /// The run of its tokenizer.
    pub tokenizer: &'a Path,
    /// Channels.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// How long it is trained: `steps: N` or `minutes: N`.
    pub budget: &'a str,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// Steps until it is reached.
    pub warmup: u64,
    /// Decay of the weight average.
    pub average: f64,
    /// Steps between two evaluations.
    pub evaluate: u64,
}

/// A path in YAML.
fn quoted(path: &Path) -> String {
    serde_json::to_string(&path.to_string_lossy()).unwrap_or_default()
}

impl Recipe<'_> {
    /// What every run begins with.
    fn head(&self) -> String {
        format!(
            "data: {}\nseed: {}\nbatch: {}\naugment: {{ colour: 0, flip: 0, keep: 1 }}\n",
            quoted(self.data),
            self.seed,
            BATCH / 2
        )
    }

    /// A tokenizer for images of so many pixels to a latent of 8 x 8 cells, which is coded in scales of these sides. For 32 pixels it is that of the
    /// Fashion-MNIST example.
    pub fn tokenizer(&self, pixels: usize, scales: &[usize], minutes: f64) -> String {
        let scales: Vec<String> = scales.iter().map(|s| format!("[{s}, {s}]")).collect();
        let mult = match pixels / LATENT {
            ..=1 => "[1]",
            2 => "[1, 2]",
            3..=4 => "[1, 2, 4]",
            5..=8 => "[1, 2, 4, 4]",
            _ => "[1, 2, 4, 4, 4]",
        };
        format!(
            "kind: vq
{head}model: {{ vocabulary: 512, channels: 16, base_channels: 16, mult: {mult}, blocks: 1, phis: 4, phi_ratio: 0.5, norm_groups: 8 }}
scales: [{scales}]
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
            head = self.head(),
            scales = scales.join(", "),
        )
    }

    /// A classifier.
    pub fn classifier(&self, minutes: f64) -> String {
        format!(
            "{head}train:
  parallel: 2
  budget: {{ minutes: {minutes} }}
  learning_rate: {{ peak: 2.0e-3, warmup_steps: 50, decay: cosine, end: 0.01 }}
  adamw: {{ beta_1: 0.9, beta_2: 0.99, weight_decay: 0.02, clip_norm: 1.0 }}
  average_decay: 0.99
  log_every: 10
  evaluate_every: 500
",
            head = self.head(),
        )
    }

    /// A transformer of classes.
    pub fn transformer(&self, model: Transformer<'_>) -> String {
        let Transformer {
            kind,
            tokenizer,
            width,
            depth,
            heads,
            budget,
            learning_rate,
            warmup,
            average,
            evaluate,
        } = model;
        format!(
            "kind: {kind}
{head}tokenizer: {tokenizer}
model: {{ width: {width}, depth: {depth}, heads: {heads} }}
precision: bf16
condition_drop: 0.1
train:
  parallel: 2
  budget: {{ {budget} }}
  learning_rate: {{ peak: {learning_rate:e}, warmup_steps: {warmup}, decay: cosine, end: 0.1 }}
  adamw: {{ beta_1: 0.9, beta_2: 0.95, weight_decay: 0.05, clip_norm: 2.0 }}
  average_decay: {average}
  log_every: 10
  evaluate_every: {evaluate}
",
            head = self.head(),
            tokenizer = quoted(tokenizer),
        )
    }
}
