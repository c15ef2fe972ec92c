//! `nextscale train tokenizer` with `kind: causal`: the causal 3-D auto-encoder of videos, on clips of sprites that move.
//!
//! The loss is that of the picture tokenizers, over all frames. Image and clips are quantised as pyramids of their own,
//! as the transformer will write them. Nothing is drawn from the posterior; its variances are only pushed to be small, so
//! that the draws that a given picture is encoded by are its means.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use burn::tensor::{Device, Tensor};
use nextscale_var_core::train::{Loss, Task, TrainOptions};
use nextscale_video::codes::CodeBits;
use nextscale_video::pyramid::quantize_straight_through;
use nextscale_video::{InfinityStarVae, InfinityStarVaeConfig, Layout, Plan};
use serde::{Deserialize, Serialize};

use crate::batches::clips::{ClipBatch, ClipBatches, ClipSettings, clips};
use crate::tokenizer::TokenizerKind;
use crate::tokenizer::bsq::TokenizerLoss;
use crate::tokenizer::reconstruction::{Repainting, repainting};
use nextscale_data::Dataset;

/// What `nextscale train tokenizer` reads for a tokenizer of clips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CausalRun {
    /// [`TokenizerKind::Causal`].
    pub kind: TokenizerKind,
    /// Folder of the pictures, as `nextscale data build` made it.
    pub data: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Clips a step.
    pub batch: usize,
    /// How clips are made.
    pub clips: ClipSettings,
    /// Frames that a training clip has, out of the middle of a whole one.
    pub window: usize,
    /// Chance of any colour as the background instead of white.
    #[serde(default = "default_colour")]
    pub colour: f64,
    /// Share of clips that show a picture as large as the frame, without motion.
    #[serde(default)]
    pub still: f64,
    /// Sizes of the auto-encoder.
    pub model: InfinityStarVaeConfig,
    /// Bits of a semantic code.
    pub semantic_bits: usize,
    /// Height and width of every scale; the last one is the size of the latent.
    pub scales: Vec<(usize, usize)>,
    /// How often scales are written, and which codes they have.
    pub layout: Layout,
    /// Weights of the parts of the loss.
    #[serde(default)]
    pub loss: TokenizerLoss,
    /// Folder of a run with the same sizes whose model is the start of this one.
    #[serde(default)]
    pub continues: Option<PathBuf>,
    /// Whether only the decoder is trained, so that transformers that were trained on the codes of `continues` stay valid.
    #[serde(default)]
    pub decoder_only: bool,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

fn default_colour() -> f64 {
    0.3
}

/// Where the logarithms of the posterior's variances should be, and how much it counts.
const LOG_VARIANCE: f64 = -12.0;
const VARIANCE_WEIGHT: f64 = 1e-3;

/// The factor on the latent, which makes it about as large as its codes. It is not trained: commitment and decoder would
/// pull at it from both sides.
const SCALE: f64 = 0.25;

impl CausalRun {
    /// Bits of the two kinds of code.
    pub fn bits(&self) -> CodeBits {
        CodeBits {
            semantic: self.semantic_bits,
            detail: self.model.latent_channels(),
        }
    }

    /// The order in which a clip of so many frames is written.
    ///
    /// # Errors
    /// When scales and layout make no plan, or the frames fill no latent frames.
    pub fn plan(&self, frames: usize) -> anyhow::Result<Plan> {
        let p = self.model.frame_stride();
        ensure!(
            frames % p == 1 % p,
            "{frames} frames are not 1 and a multiple of {p}"
        );
        let grids: Vec<[usize; 2]> = self.scales.iter().map(|&(h, w)| [h, w]).collect();
        Plan::new(&self.layout, &grids, 1 + frames / p).context("scales and layout")
    }

    /// A fresh model, or that of [`CausalRun::continues`].
    ///
    /// # Errors
    /// When that run has no checkpoint or other sizes.
    pub fn start(&self, device: &Device) -> anyhow::Result<InfinityStarVae> {
        let mut fresh = self.model.init(device);
        fresh.scale = fresh
            .scale
            .map(|ones| (ones * SCALE).set_require_grad(false));
        let Some(from) = &self.continues else {
            return Ok(fresh);
        };
        let (source, checkpoint): (Self, _) = crate::config::source("continues", from)?;
        ensure!(
            source.model == self.model,
            "continues: the auto-encoder of `{}` has other sizes than this configuration",
            from.display()
        );
        Ok(checkpoint.average(fresh)?)
    }

    /// Refuses sizes that don't fit together.
    ///
    /// # Errors
    /// When the last scale is not the latent of a frame, a plan is impossible, or the batch is empty.
    pub fn check(&self, set: &Dataset) -> anyhow::Result<()> {
        ensure!(self.batch > 0, "batch must be at least 1");
        ensure!(
            !self.decoder_only || self.continues.is_some(),
            "decoder_only: there is no encoder; name its run under `continues`"
        );
        ensure!(
            self.window <= self.clips.frames && self.window > 0,
            "window: {} of {} frames",
            self.window,
            self.clips.frames
        );
        self.plan(self.clips.frames)?;
        let last = self.plan(self.window)?.reference();
        let (side, stride) = (set.size(), self.model.stride());
        ensure!(
            side.is_multiple_of(stride) && (last.h, last.w) == (side / stride, side / stride),
            "the last scale is {}x{}, but a frame of {side} pixels has a latent of {}x{}",
            last.h,
            last.w,
            side / stride,
            side / stride
        );
        let bits = self.bits();
        ensure!(
            bits.semantic > 0 && bits.semantic <= bits.detail,
            "semantic_bits: {} of {} bits",
            bits.semantic,
            bits.detail
        );
        Ok(())
    }

    /// The batches of the run.
    pub fn batches(&self, set: Arc<Dataset>) -> ClipBatches {
        let chances = [self.colour, self.still, self.loss.drop_scales];
        let scales = self.scales.len();
        let (seed, count) = (self.seed, self.batch);
        ClipBatches::new(set, seed, count, self.clips, self.window, chances, scales)
    }
}

/// The task.
pub struct CausalTask {
    run: CausalRun,
    plan: Plan,
    whole: Plan,
    size: usize,
    device: Device,
    held_out: Vec<f32>,
}

impl CausalTask {
    /// The task of a run on an autodiff device.
    ///
    /// # Errors
    /// When the scales are no schedule.
    pub fn new(run: CausalRun, set: &Arc<Dataset>, device: Device) -> anyhow::Result<Self> {
        Ok(Self {
            plan: run.plan(run.window)?,
            whole: run.plan(run.clips.frames)?,
            size: set.size(),
            held_out: run.clips.held_out(set, 52).1,
            run,
            device,
        })
    }
}

/// Frames as pictures: `[b, 3, t, h, w]` to `[b t, 3, h, w]`.
fn pictures(x: Tensor<5>) -> Tensor<4> {
    let [b, c, t, h, w] = x.dims();
    x.swap_dims(1, 2).reshape([b * t, c, h, w])
}

impl Task for CausalTask {
    type Model = InfinityStarVae;
    type Batch = ClipBatch;

    fn loss(&self, model: &InfinityStarVae, batch: ClipBatch) -> Loss {
        let pixels = clips(batch.pixels, batch.frames, self.size, &self.device);
        let posterior = model.posterior(model.encode_stream().push(pixels.clone()));
        let sharp = (posterior.log_variance.clone() - LOG_VARIANCE)
            .square()
            .mean();
        let latent = model.latent(posterior.mode());
        let frozen = self.run.decoder_only;
        let latent = if frozen { latent.detach() } else { latent };
        let quantised =
            quantize_straight_through(&self.plan, self.run.bits(), latent, batch.scales);
        let error = model.decode_stream().push(quantised.latent) - pixels;
        let weights = &self.run.loss;
        let Repainting { total, l2 } =
            repainting(pictures(error), weights.l1, weights.l2, weights.edge);
        let total = total
            + quantised.commitment.clone() * weights.commitment
            + quantised.entropy.clone() * weights.entropy
            + if frozen { sharp.detach() } else { sharp } * VARIANCE_WEIGHT;
        Loss {
            total,
            parts: vec![
                ("mse", l2),
                ("commitment", quantised.commitment.detach()),
                ("entropy", quantised.entropy.detach()),
            ],
            examples: batch.count,
        }
    }

    /// PSNR of held-out sprites in whole clips in dB, for pixels in 0..=1: of the mean squared error over all of them,
    /// after all scales (`psnr`) and without the quantiser (`psnr_free`).
    fn evaluate(&self, average: &InfinityStarVae) -> Vec<(&'static str, f64)> {
        let device = self.device.clone().inner();
        let frames = self.run.clips.frames;
        let (mut sums, mut count) = ([0.0; 2], 0.0);
        for chunk in self.held_out.chunks(8 * 3 * frames * self.size * self.size) {
            let pixels = clips(chunk.to_vec(), frames, self.size, &device);
            let z = average.latent(average.encode(pixels.clone()).mode());
            let bits = quantize_straight_through(
                &self.whole,
                self.run.bits(),
                z.clone(),
                self.run.scales.len(),
            );
            for (sum, latent) in sums.iter_mut().zip([bits.latent, z]) {
                let error = (average.decode(latent) - pixels.clone()) * 0.5;
                let error: f32 = error.square().mean().into_scalar();
                *sum += f64::from(error) * chunk.len() as f64;
            }
            count += chunk.len() as f64;
        }
        let [bits, free] = sums.map(|sum| -10.0 * (sum / count).log10());
        vec![("psnr", bits), ("psnr_free", free)]
    }
}
