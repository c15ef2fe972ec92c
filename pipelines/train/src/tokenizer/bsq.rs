//! `nextscale train tokenizer`: a binary spherical auto-encoder on pictures.
//!
//! The loss is the reconstruction error, plus what keeps the latent near its codes (commitment) and
//! every bit of every scale in use (entropy). Gradients pass the quantiser straight through.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use burn::tensor::Device;
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_tokenizer::{Scale, ScaleSchedule};
use nextscale_var_core::train::{Loss, Task, TrainOptions};
use serde::{Deserialize, Serialize};

use crate::batches::images::{Augment, PictureBatch, PictureBatches};
use crate::tokenizer::TokenizerKind;
use crate::tokenizer::reconstruction::{HeldOut, Repainting, repainting, tensor};
use nextscale_data::Dataset;

/// What `nextscale train tokenizer` reads for a tokenizer of bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRun {
    /// [`TokenizerKind::Bsq`].
    #[serde(default)]
    pub kind: TokenizerKind,
    /// Folder of the pictures, as `nextscale data build` made it.
    pub data: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Pictures a step.
    pub batch: usize,
    /// How pictures are varied.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the auto-encoder.
    pub model: BsqVaeConfig,
    /// Height and width of every scale; the last one is the size of the latent.
    pub scales: Vec<(usize, usize)>,
    /// Weights of the parts of the loss.
    #[serde(default)]
    pub loss: TokenizerLoss,
    /// Folder of a tokenizer's run whose encoder is taken over and stays as it is: only a decoder for its codes is
    /// trained, which may be larger than its own. Transformers that were trained on those codes stay valid.
    #[serde(default)]
    pub encoder_of: Option<PathBuf>,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

impl TokenizerRun {
    /// The schedule that the quantiser follows.
    ///
    /// # Errors
    /// When the scales are no schedule.
    pub fn schedule(&self) -> anyhow::Result<ScaleSchedule> {
        let scales = self.scales.iter().map(|&(h, w)| Scale::new(1, h, w));
        ScaleSchedule::new(scales.collect()).context("scales")
    }

    /// A fresh model, or one that starts with the weights of [`TokenizerRun::encoder_of`]: the encoder's, and the
    /// decoder's too where it has the same sizes.
    ///
    /// # Errors
    /// When that run has no checkpoint, or its encoder has other sizes.
    pub fn start(&self, device: &Device) -> anyhow::Result<BsqVae> {
        let fresh = self.model.init(device);
        let Some(from) = &self.encoder_of else {
            return Ok(fresh);
        };
        let (source, checkpoint): (Self, _) = crate::config::source("encoder_of", from)?;
        let without_decoder = |run: &Self| BsqVaeConfig {
            decoder_mult: Vec::new(),
            decoder_blocks: 0,
            ..run.model.clone()
        };
        ensure!(
            without_decoder(&source) == without_decoder(self) && source.scales == self.scales,
            "encoder_of: the encoder of `{}` has other sizes or scales than this configuration",
            from.display()
        );
        let trained: BsqVae = checkpoint.average(source.model.init(device))?;
        Ok(match source.model == self.model {
            true => trained,
            false => BsqVae {
                encoder: trained.encoder,
                ..fresh
            },
        })
    }

    /// Refuses sizes that don't fit together.
    ///
    /// # Errors
    /// When the last scale is not the latent of a picture, or the batch is empty.
    pub fn check(&self, set: &Dataset) -> anyhow::Result<()> {
        let last = self.schedule()?.last();
        ensure!(
            !self.model.encoder_mult.is_empty() && self.model.pixel_patch > 0,
            "model: encoder_mult and pixel_patch must not be empty or 0"
        );
        let side = set.size() / self.model.stride();
        ensure!(
            (last.h, last.w) == (side, side),
            "the last scale is {}x{}, but a picture of {} pixels has a latent of {side}x{side}",
            last.h,
            last.w,
            set.size()
        );
        ensure!(self.batch > 0, "batch must be at least 1");
        let (encoder, decoder) = (&self.model.encoder_mult, &self.model.decoder_mult);
        ensure!(
            encoder.len() == decoder.len(),
            "model: encoder_mult {encoder:?} and decoder_mult {decoder:?} differ in length"
        );
        let groups = self.model.norm_groups.unwrap_or(32);
        for mult in encoder.iter().chain(decoder) {
            let channels = mult * self.model.base_channels;
            ensure!(
                groups > 0 && channels > 0 && channels.is_multiple_of(groups),
                "model: {groups} norm groups don't divide {channels} channels"
            );
        }
        Ok(())
    }
}

/// Weights of the parts of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerLoss {
    /// Mean absolute error.
    pub l1: f64,
    /// Mean squared error.
    pub l2: f64,
    /// Mean absolute error of the differences between neighbours.
    pub edge: f64,
    /// Squared distance between the latent and its codes.
    pub commitment: f64,
    /// Shortfall of the entropy of the bits, in bits.
    pub entropy: f64,
    /// Chance that a step leaves out the finest scales, so that the coarse ones carry a picture.
    pub drop_scales: f64,
}

impl Default for TokenizerLoss {
    fn default() -> Self {
        Self {
            l1: 0.5,
            l2: 5.0,
            edge: 0.25,
            commitment: 0.1,
            entropy: 0.02,
            drop_scales: 0.1,
        }
    }
}

impl TokenizerRun {
    /// The batches of the run.
    pub fn batches(&self, set: Arc<Dataset>) -> PictureBatches {
        let drop = self.loss.drop_scales;
        PictureBatches::new(set, self.seed, self.batch, self.augment)
            .dropping(drop, self.scales.len())
    }
}

/// The task.
pub struct TokenizerTask {
    run: TokenizerRun,
    schedule: ScaleSchedule,
    bsq: Bsq,
    size: usize,
    device: Device,
    held_out: HeldOut,
}

impl TokenizerTask {
    /// The task of a run on an autodiff device.
    ///
    /// # Errors
    /// When the scales are no schedule.
    pub fn new(run: TokenizerRun, set: &Arc<Dataset>, device: Device) -> anyhow::Result<Self> {
        Ok(Self {
            schedule: run.schedule()?,
            bsq: Bsq::new(run.model.bits),
            size: set.size(),
            held_out: HeldOut::new(set, 128),
            run,
            device,
        })
    }
}

impl Task for TokenizerTask {
    type Model = BsqVae;
    type Batch = PictureBatch;

    fn loss(&self, model: &BsqVae, batch: PictureBatch) -> Loss {
        let pixels = tensor(batch.pixels, self.size, &self.device);
        let latent = model.encode(pixels.clone());
        let frozen = self.run.encoder_of.is_some();
        let latent = if frozen { latent.detach() } else { latent };
        let quantised = self
            .bsq
            .quantize_straight_through(latent, &self.schedule, batch.scales);
        let weights = &self.run.loss;
        let error = model.reconstruct(quantised.latent) - pixels;
        let Repainting { total, l2 } = repainting(error, weights.l1, weights.l2, weights.edge);
        let total = total
            + quantised.commitment.clone() * weights.commitment
            + quantised.entropy.clone() * weights.entropy;
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

    /// PSNR of the held-out pictures in dB, for pixels in 0..=1: of the mean squared error over all
    /// of them, after all scales (`psnr`) and without the quantiser (`psnr_free`).
    fn evaluate(&self, average: &BsqVae) -> Vec<(&'static str, f64)> {
        let device = self.device.clone().inner();
        let scales = self.schedule.len();
        let [bits, free] = self.held_out.psnr(&device, |pixels| {
            let z = average.encode(pixels);
            let bits = self
                .bsq
                .quantize_straight_through(z.clone(), &self.schedule, scales)
                .latent;
            [average.decode(bits), average.decode(z)]
        });
        vec![("psnr", bits), ("psnr_free", free)]
    }
}
