//! InfinityStar's tokenizer (`kind: causal`): the causal 3-D auto-encoder of videos, on clips of sprites that move.
//!
//! The loss is that of the image tokenizer, over all frames; VGG16 and a discriminator see some of them. The image and the clips are quantised as pyramids of their
//! own, as the transformer will generate them. Nothing is sampled from the posterior; its variances are only pushed to be
//! small, so that samples of the posterior, by which a given image is encoded, are its means.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use nextscale_data::Dataset;
use nextscale_tokenizer::conv::in_bf16;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{Apart, Loss, Task, TrainOptions};
use nextscale_video::codes::CodeBits;
use nextscale_video::pyramid::quantize_straight_through;
use nextscale_video::{InfinityStarVae, InfinityStarVaeConfig, Layout, Plan};
use serde::{Deserialize, Serialize};

use crate::batches::clips::{ClipBatch, ClipBatches, ClipSettings};
use crate::batches::planes;
use crate::config::{check_fraction, check_latent};
use crate::error::{Result, TrainError, ensure};
use crate::run::{Run, Start, StartContext, check_sprites};
use crate::run_folder;
use crate::shuffle::Shuffle;
use crate::tokenizer::TokenizerKind;
use crate::tokenizer::adversarial::Adversarial;
use crate::tokenizer::loss::{BsqLoss, CodeLoss};
use crate::tokenizer::objective::{Objective, Reconstruction, Settings, gradient_norm};
use crate::tokenizer::reconstruction::psnr;

/// Configuration of a tokenizer of clips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CausalRun {
    /// [`TokenizerKind::Causal`].
    pub kind: TokenizerKind,
    /// Folder of the data set, as `nextscale data build` wrote it.
    pub data: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Clips per batch.
    pub batch: usize,
    /// How clips are made.
    pub clips: ClipSettings,
    /// Frames of a training clip, cut out of a whole one.
    pub window: usize,
    /// Chance of a background of any colour instead of white.
    #[serde(default = "default_colour")]
    pub colour: f64,
    /// Share of clips that show an image as large as the frame, without motion.
    #[serde(default)]
    pub still: f64,
    /// Sizes of the auto-encoder.
    pub model: InfinityStarVaeConfig,
    /// Bits of a semantic code.
    pub semantic_bits: usize,
    /// Height and width of every scale; the last one is the size of the latent.
    pub scales: Vec<(usize, usize)>,
    /// How often scales are repeated, and which codes they have.
    pub layout: Layout,
    /// Weights of the parts of the loss.
    #[serde(default)]
    pub loss: BsqLoss,
    /// Folder of a run with the same sizes, whose model is the start of this one.
    #[serde(default)]
    pub continues: Option<PathBuf>,
    /// Whether only the decoder is trained, so that transformers that were trained on the codes of `continues` stay valid.
    #[serde(default)]
    pub decoder_only: bool,
    /// Number format of the convolutions' products: `bf16` is faster on CPUs with AMX, and f32 elsewhere.
    #[serde(default)]
    pub precision: Precision,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

fn default_colour() -> f64 {
    0.3
}

/// The target of the posterior's log variances, and the weight of their squared distance from it.
const LOG_VARIANCE: f64 = -12.0;
const VARIANCE_WEIGHT: f64 = 1e-3;

/// The factor on the latent, which makes it about as large as its codes. It is not trained: commitment and decoder would
/// pull it in opposite directions.
const SCALE: f64 = 0.25;

impl CausalRun {
    /// Bits of the two kinds of code.
    pub(crate) fn bits(&self) -> CodeBits {
        CodeBits {
            semantic: self.semantic_bits,
            detail: self.model.latent_channels(),
        }
    }

    /// The passes of a clip of `frames` frames.
    pub(crate) fn plan(&self, frames: usize) -> Result<Plan> {
        let p = self.model.frame_stride();
        ensure!(
            frames % p == 1 % p,
            "{frames} frames are not 1 more than a multiple of {p}"
        );
        let grids: Vec<[usize; 2]> = self.scales.iter().map(|&(h, w)| [h, w]).collect();
        Plan::new(&self.layout, &grids, 1 + frames / p)
            .map_err(|error| TrainError::setting("scales and layout", error))
    }

    fn settings(&self) -> Settings<'_> {
        Settings {
            perceptual: self.loss.perceptual.as_ref(),
            adversarial: self.loss.adversarial.as_ref(),
            train: self.train,
            seed: self.seed,
        }
    }

    /// A model with random weights, or that of [`CausalRun::continues`].
    fn model(&self, device: &Device) -> Result<InfinityStarVae> {
        let mut fresh = self.model.init(device);
        // Copies of a model, and models that are read from a checkpoint, go by the parameter, not by its tensor.
        let scaled = fresh.scale.map(|ones| (ones * SCALE).detach());
        fresh.scale = scaled.set_require_grad(false);
        let Some(from) = &self.continues else {
            return Ok(fresh);
        };
        let (source, checkpoint): (Self, _) = run_folder::source("continues", from)?;
        ensure!(
            source.model == self.model,
            "continues: the auto-encoder of `{}` has other sizes than this configuration",
            from.display()
        );
        Ok(checkpoint.average(fresh)?)
    }
}

impl Run for CausalRun {
    type Task = CausalTask;
    type Batches = ClipBatches;

    fn check(&self, set: &Dataset) -> Result<()> {
        check_sprites(set)?;
        ensure!(self.batch > 0, "batch must be at least 1");
        self.clips.check()?;
        check_fraction("colour", self.colour)?;
        check_fraction("still", self.still)?;
        self.model
            .validate()
            .map_err(|error| TrainError::Invalid(format!("model: the model {error}")))?;
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
        let side = self.clips.side(set);
        check_latent(last, side, self.model.stride())?;
        let CodeBits { semantic, detail } = self.bits();
        ensure!(
            semantic > 0 && semantic <= detail,
            "semantic_bits: {semantic} of {detail} bits"
        );
        self.settings().check(side)
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device.clone().autodiff();
        device.seed(self.seed);
        let model = self.settings().model(self.model(&device)?, &device);
        let task = CausalTask {
            plan: self.plan(self.window)?,
            whole: self.plan(self.clips.frames)?,
            size: self.clips.side(&set),
            held_out: self.clips.held_out(&set, 52).1,
            objective: self.settings().objective(&device)?,
            run: self.clone(),
            device,
        };
        let batches = ClipBatches {
            clips_of_video: task.whole.clips().len() - 1,
            shuffle: Shuffle::new(self.seed, set.train_ids()),
            set,
            seed: self.seed,
            count: self.batch,
            clips: self.clips,
            window: self.window,
            colour: self.colour,
            still: self.still,
            drop: self.loss.drop_scales,
            scales: self.scales.len(),
        };
        Ok((task, model, batches))
    }
}

/// Loss and measurements.
pub(crate) struct CausalTask {
    run: CausalRun,
    /// Of a training clip.
    plan: Plan,
    /// Of a whole clip.
    whole: Plan,
    size: usize,
    held_out: Vec<f32>,
    objective: Objective,
    device: Device,
}

/// Frames as images: `[b, 3, t, h, w]` to `[b t, 3, h, w]`.
fn frames(x: Tensor<5>) -> Tensor<4> {
    let [b, c, t, h, w] = x.dims();
    x.swap_dims(1, 2).reshape([b * t, c, h, w])
}

impl CausalTask {
    /// The loss of a batch, and its gradients.
    fn step(&self, model: &<Self as Task>::Model, batch: ClipBatch) -> (Loss, GradientsParams) {
        let vae = &model.autoencoder;
        let pixels = planes::clips(batch.pixels, batch.frames, self.size, &self.device);
        let posterior = vae.posterior(vae.encode_stream().push(pixels.clone()));
        let variance = posterior.log_variance.clone() - LOG_VARIANCE;
        let variance = variance.square().mean();
        let latent = vae.latent(posterior.mode());
        let (latent, variance) = if self.run.decoder_only {
            (latent.detach(), variance.detach())
        } else {
            (latent, variance)
        };
        let quantised =
            quantize_straight_through(&self.plan, self.run.bits(), latent, batch.scales);
        let features = vae.features(quantised.latent.clone());
        let images = frames(vae.pixels(features.clone()));
        let features = features.detach();
        let last_layer = |gradient| {
            let images = frames(vae.pixels(features.clone()));
            gradient_norm(images, gradient, &vae.decoder.conv_out.weight)
        };
        let CodeLoss { mut terms, parts } = self.run.loss.of_codes(quantised);
        terms.push(variance * VARIANCE_WEIGHT);
        let batch = Reconstruction {
            number: batch.number,
            target: frames(pixels),
            images,
            frames: batch.frames,
            error: &|error| self.run.loss.of_pixels(error),
            last_layer: &last_layer,
            terms,
            parts,
            examples: batch.count,
        };
        self.objective.gradients(model, batch)
    }
}

impl Task for CausalTask {
    type Model = Adversarial<InfinityStarVae>;
    type Batch = ClipBatch;

    fn gradients(&self, model: &Self::Model, batch: ClipBatch) -> (Loss, GradientsParams) {
        let half = self.run.precision == Precision::Bf16;
        in_bf16(half, || self.step(model, batch))
    }

    fn after_step(&self, model: Self::Model, _step: u64, _progress: f64) -> Self::Model {
        self.objective.after_step(model)
    }

    fn apart(&self) -> Option<Apart> {
        self.objective.apart()
    }

    fn averaged<'a>(&self, model: &'a Self::Model) -> Cow<'a, Self::Model> {
        model.averaged()
    }

    /// PSNR of held-out sprites in whole clips in dB, after all scales (`psnr`) and without the quantiser (`psnr_free`).
    fn evaluate(&self, average: &Self::Model) -> Vec<(String, f64)> {
        let average = &average.autoencoder;
        let device = self.device.clone().inner();
        let frames = self.run.clips.frames;
        let chunks = self.held_out.chunks(8 * 3 * frames * self.size * self.size);
        let batches = chunks.map(|chunk| planes::clips(chunk.to_vec(), frames, self.size, &device));
        let [quantised, free] = psnr(batches, |pixels| {
            let z = average.latent(average.encode(pixels).mode());
            let (bits, scales) = (self.run.bits(), self.run.scales.len());
            let quantised = quantize_straight_through(&self.whole, bits, z.clone(), scales);
            [average.decode(quantised.latent), average.decode(z)]
        });
        vec![
            ("psnr".to_owned(), quantised),
            ("psnr_free".to_owned(), free),
        ]
    }
}
