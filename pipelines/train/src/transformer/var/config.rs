//! The configuration of a VAR run.

use std::path::PathBuf;

use nextscale_data::Augment;
use nextscale_data::Dataset;
use nextscale_models::sampling::Sampling;
use nextscale_tokenizer::{ScaleSchedule, VqVaeConfig};
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{ScaleWeighting, TrainOptions};
use nextscale_var_core::var::{Modulation, VarConfig};
use serde::{Deserialize, Serialize};

use crate::error::{Result, ensure};
use crate::transformer::TransformerKind;
use crate::transformer::text::default_drop;

/// Configuration of a class-to-image transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VarRun {
    /// [`TransformerKind::Var`].
    pub kind: TransformerKind,
    /// Folder of the data set, as `nextscale data build` wrote it; it must have classes.
    pub data: PathBuf,
    /// Folder of the tokenizer's run.
    pub tokenizer: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch: usize,
    /// How images are augmented.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the transformer; the scales are the tokenizer's.
    pub model: VarSizes,
    /// Weights of the tokens of each scale.
    #[serde(default)]
    pub weighting: ScaleWeighting,
    /// Share of the target that is spread evenly over all codes, 0 to 1.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Trains the coarse scales before the fine ones.
    #[serde(default)]
    pub progressive: Option<Progressive>,
    /// Default sampling of the exported model.
    #[serde(default = "default_sampling")]
    pub sampling: Sampling,
    /// Name of the exported model.
    #[serde(default)]
    pub name: String,
    /// What the exported model generates, what it was trained on, and its licence.
    #[serde(default)]
    pub about: String,
    /// Number format of the matrix products in the blocks: `bf16` halves their time on CPUs that support it.
    #[serde(default)]
    pub precision: Precision,
    /// Share of labels that are replaced by "no class".
    #[serde(default = "default_drop")]
    pub condition_drop: f64,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

fn default_sampling() -> Sampling {
    Sampling {
        cfg: 1.5,
        temperature: 1.0,
        top_k: 0,
        top_p: 0.96,
    }
}

/// Sizes of the transformer; the rest follows from the tokenizer and the data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VarSizes {
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden units of the feed-forward, as a multiple of the width.
    #[serde(default = "default_mlp_ratio")]
    pub mlp_ratio: f64,
    /// Where the blocks' gains, scales and shifts come from.
    #[serde(default = "default_modulation")]
    pub modulation: Modulation,
    /// How queries and keys are compared.
    #[serde(default = "default_attention")]
    pub attention: AttentionKind,
}

fn default_mlp_ratio() -> f64 {
    4.0
}

fn default_modulation() -> Modulation {
    Modulation::Own
}

fn default_attention() -> AttentionKind {
    AttentionKind::Cosine
}

/// Coarse scales first (`pg` of the reference's trainer, in steps).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progressive {
    /// Scales at the start, at least 2.
    pub from: usize,
    /// Steps until the next scale is added.
    pub steps: u64,
    /// Steps over which the weight of an added scale grows to its full value.
    #[serde(default)]
    pub warmup_steps: u64,
}

impl Progressive {
    /// How many of `all` scales are trained in a step, and the share of its weight that the last of them has.
    pub(super) fn at(&self, step: u64, all: usize) -> (usize, f64) {
        let added = (step / self.steps).min((all - self.from) as u64);
        let since = step - added * self.steps + 1;
        let share = match added {
            0 => 1.0,
            _ => (since as f64 / self.warmup_steps.max(1) as f64).min(1.0),
        };
        (self.from + added as usize, share)
    }
}

impl VarRun {
    /// The transformer for this number of classes, on a tokenizer.
    pub(super) fn model_config(
        &self,
        vae: &VqVaeConfig,
        schedule: &ScaleSchedule,
        classes: usize,
    ) -> VarConfig {
        VarConfig {
            width: self.model.width,
            depth: self.model.depth,
            heads: self.model.heads,
            classes,
            vocabulary: vae.vocabulary,
            channels: vae.channels,
            schedule: schedule.clone(),
            mlp_ratio: self.model.mlp_ratio,
            modulation: self.model.modulation,
            attention: self.model.attention,
        }
    }

    /// Rejects settings that contradict each other or the data set.
    pub(super) fn check_sizes(&self, set: &Dataset) -> Result<()> {
        ensure!(
            !set.classes().is_empty(),
            "data: the images in `{}` have no classes; `kind: var` needs them",
            self.data.display()
        );
        let VarSizes {
            width,
            depth,
            heads,
            mlp_ratio,
            ..
        } = self.model;
        ensure!(
            heads > 0 && width > 0 && width.is_multiple_of(heads),
            "model.heads: the width {width} does not split into {heads} heads"
        );
        ensure!(
            depth > 0 && mlp_ratio > 0.0,
            "model: depth and mlp_ratio must not be 0"
        );
        ensure!(self.batch > 0, "batch must be at least 1");
        for (key, share) in [
            ("condition_drop", self.condition_drop),
            ("label_smoothing", self.label_smoothing),
        ] {
            ensure!(
                (0.0..1.0).contains(&share),
                "{key}: {share} is not between 0 and 1"
            );
        }
        Ok(())
    }

    /// Rejects a tokenizer of another image size or with too few scales.
    pub(super) fn check_tokenizer(
        &self,
        size: usize,
        vae: &VqVaeConfig,
        schedule: &ScaleSchedule,
    ) -> Result<()> {
        let (last, stride) = (schedule.last(), vae.stride());
        ensure!(
            (last.h * stride, last.w * stride) == (size, size),
            "tokenizer: it was trained on images of {}x{} pixels, those in `{}` have {size}x{size}",
            last.w * stride,
            last.h * stride,
            self.data.display()
        );
        let all = schedule.len();
        ensure!(
            all > 1,
            "tokenizer: a transformer needs at least two scales, it has {all}"
        );
        if let Some(Progressive { from, steps, .. }) = self.progressive {
            ensure!(
                (2..=all).contains(&from),
                "progressive.from: {from} is not between 2 and the {all} scales of the tokenizer"
            );
            ensure!(steps > 0, "progressive.steps must be at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_join_one_by_one_with_growing_weight() {
        let progressive = Progressive {
            from: 2,
            steps: 10,
            warmup_steps: 4,
        };
        let at = |step| progressive.at(step, 4);
        assert_eq!(at(0), (2, 1.0));
        assert_eq!(at(9), (2, 1.0));
        assert_eq!(at(10), (3, 0.25));
        assert_eq!(at(13), (3, 1.0));
        assert_eq!(at(20), (4, 0.25));
        assert_eq!(at(1000), (4, 1.0));
        let all = Progressive {
            from: 4,
            ..progressive
        };
        assert_eq!(all.at(50, 4), (4, 1.0));
    }
}
