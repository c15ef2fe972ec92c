//! The configurations of the comparators' runs.

use std::path::PathBuf;

use nextscale_comparators::dit::{DitConfig, DitPrediction, Process};
use nextscale_comparators::raster::RasterConfig;
use nextscale_data::{Augment, Dataset};
use nextscale_tokenizer::{ScaleSchedule, VqVaeConfig};
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::TrainOptions;
use serde::{Deserialize, Serialize};

use crate::error::{Result, ensure};
use crate::transformer::TransformerKind;
use crate::transformer::text::default_drop;

/// Configuration of a raster autoregressive transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RasterRun {
    /// [`TransformerKind::Raster`].
    pub kind: TransformerKind,
    /// Folder of the data set, which must have classes.
    pub data: PathBuf,
    /// Folder of the run of a tokenizer with a single scale.
    pub tokenizer: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch: usize,
    /// How images are augmented.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the transformer.
    pub model: ComparatorSizes,
    /// Number format of the matrix products in the blocks.
    #[serde(default)]
    pub precision: Precision,
    /// Share of labels that are replaced by "no class".
    #[serde(default = "default_drop")]
    pub condition_drop: f64,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

/// Configuration of a diffusion transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DitRun {
    /// [`TransformerKind::Dit`].
    pub kind: TransformerKind,
    /// Folder of the data set, which must have classes.
    pub data: PathBuf,
    /// Folder of the run of a tokenizer with a codebook, whose continuous latents are diffused.
    pub tokenizer: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch: usize,
    /// How images are augmented.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the transformer.
    pub model: ComparatorSizes,
    /// Cells of the latent along each side of a token.
    #[serde(default = "one")]
    pub patch: usize,
    /// How latents become noise.
    #[serde(default)]
    pub process: Process,
    /// Number format of the matrix products in the blocks.
    #[serde(default)]
    pub precision: Precision,
    /// Share of labels that are replaced by "no class".
    #[serde(default = "default_drop")]
    pub condition_drop: f64,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

fn one() -> usize {
    1
}

/// Sizes of a transformer; the rest follows from the tokenizer and the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComparatorSizes {
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
}

impl ComparatorSizes {
    /// Rejects sizes that contradict each other, and data without classes.
    pub(super) fn check(self, set: &Dataset, batch: usize, drop: f64) -> Result<()> {
        ensure!(
            !set.classes().is_empty(),
            "data: the images have no classes, which this kind of transformer needs"
        );
        let Self {
            width,
            depth,
            heads,
        } = self;
        let head = width.checked_div(heads).unwrap_or(0);
        ensure!(
            head > 0 && width % heads == 0 && head % 4 == 0,
            "model.heads: the width {width} does not split into {heads} heads of a multiple of 4 channels"
        );
        ensure!(depth > 0, "model.depth must not be 0");
        ensure!(batch > 0, "batch must be at least 1");
        ensure!(
            (0.0..1.0).contains(&drop),
            "condition_drop: {drop} is not between 0 and 1"
        );
        Ok(())
    }
}

/// Refuses a tokenizer of another size of images.
pub(super) fn check_size(size: usize, vae: &VqVaeConfig, schedule: &ScaleSchedule) -> Result<()> {
    let (last, stride) = (schedule.last(), vae.stride());
    ensure!(
        (last.h * stride, last.w * stride) == (size, size),
        "tokenizer: it was trained on images of {}x{} pixels, those of the data have {size}x{size}",
        last.w * stride,
        last.h * stride
    );
    Ok(())
}

impl RasterRun {
    /// The transformer for so many classes, on a tokenizer.
    pub(super) fn config(
        &self,
        vae: &VqVaeConfig,
        schedule: &ScaleSchedule,
        classes: usize,
    ) -> Result<RasterConfig> {
        let scales = schedule.len();
        ensure!(
            scales == 1,
            "tokenizer: a raster transformer takes one with a single scale, this one has {scales}: train one with `scales: [[{0}, {0}]]`",
            schedule.last().w
        );
        let grid = schedule.last();
        Ok(RasterConfig {
            width: self.model.width,
            depth: self.model.depth,
            heads: self.model.heads,
            classes,
            vocabulary: vae.vocabulary,
            grid: [grid.h, grid.w],
            multiple_of: 32,
        })
    }
}

impl DitRun {
    /// The transformer for so many classes, on the latents of a tokenizer.
    pub(super) fn config(
        &self,
        vae: &VqVaeConfig,
        schedule: &ScaleSchedule,
        classes: usize,
    ) -> Result<DitConfig> {
        let (side, patch) = (schedule.last().w, self.patch);
        ensure!(
            patch > 0 && side.is_multiple_of(patch),
            "patch: a latent of {side}x{side} cells is not made of patches of {patch}x{patch}"
        );
        Ok(DitConfig {
            width: self.model.width,
            depth: self.model.depth,
            heads: self.model.heads,
            classes,
            channels: vae.channels,
            side,
            patch,
            prediction: DitPrediction::Mean,
        })
    }
}
