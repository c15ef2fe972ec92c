//! Infinity's tokenizer (`kind: bsq`): an auto-encoder of images with binary spherical quantisation.
//!
//! The loss is the reconstruction error, plus what keeps the latent near its codes (commitment) and every bit of every
//! scale in use (entropy); VGG16 and a discriminator may judge the images too. Gradients pass the quantiser straight through.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::Device;
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_data::{Augment, Dataset};
use nextscale_tokenizer::ScaleSchedule;
use nextscale_tokenizer::conv::in_bf16;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{Apart, Loss, Task, TrainOptions};
use serde::{Deserialize, Serialize};

use crate::batches::images::{ImageBatch, ImageBatches, held_out};
use crate::batches::planes;
use crate::config;
use crate::error::{Result, ensure};
use crate::run::{Run, Start, StartContext};
use crate::run_folder;
use crate::shuffle::Shuffle;
use crate::tokenizer::TokenizerKind;
use crate::tokenizer::adversarial::Adversarial;
use crate::tokenizer::loss::{BsqLoss, CodeLoss};
use crate::tokenizer::objective::{Objective, Reconstruction, Settings, gradient_norm};
use crate::tokenizer::reconstruction::psnr;

/// Configuration of a tokenizer of bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BsqRun {
    /// [`TokenizerKind::Bsq`].
    #[serde(default)]
    pub kind: TokenizerKind,
    /// Folder of the data set, as `nextscale data build` wrote it.
    pub data: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch: usize,
    /// How images are augmented.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the auto-encoder.
    pub model: BsqVaeConfig,
    /// Height and width of every scale; the last one is the size of the latent.
    pub scales: Vec<(usize, usize)>,
    /// Weights of the parts of the loss.
    #[serde(default)]
    pub loss: BsqLoss,
    /// Folder of a tokenizer's run whose encoder is taken over and frozen: only a decoder for its codes is trained, which
    /// may be larger than the original one. Transformers that were trained on those codes stay valid.
    #[serde(default)]
    pub encoder_of: Option<PathBuf>,
    /// Number format of the convolutions' products: `bf16` is faster on CPUs with AMX, and f32 elsewhere.
    #[serde(default)]
    pub precision: Precision,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

impl BsqRun {
    /// The schedule of the quantiser.
    pub(crate) fn schedule(&self) -> Result<ScaleSchedule> {
        config::schedule(&self.scales)
    }

    /// A model with random weights, or one that starts with the weights of [`BsqRun::encoder_of`]: the encoder's, and the
    /// decoder's too if it has the same sizes.
    fn model(&self, device: &Device) -> Result<BsqVae> {
        let fresh = self.model.init(device);
        let Some(from) = &self.encoder_of else {
            return Ok(fresh);
        };
        let (source, checkpoint): (Self, _) = run_folder::source("encoder_of", from)?;
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
        if source.model == self.model {
            return Ok(trained);
        }
        Ok(BsqVae {
            encoder: trained.encoder,
            ..fresh
        })
    }

    fn settings(&self) -> Settings<'_> {
        Settings {
            perceptual: self.loss.perceptual.as_ref(),
            adversarial: self.loss.adversarial.as_ref(),
            train: self.train,
            seed: self.seed,
        }
    }

    fn check_model(&self) -> Result<()> {
        let (encoder, decoder) = (&self.model.encoder_mult, &self.model.decoder_mult);
        ensure!(
            !encoder.is_empty() && self.model.pixel_patch > 0,
            "model: encoder_mult and pixel_patch must not be empty or 0"
        );
        ensure!(
            encoder.len() == decoder.len(),
            "model: encoder_mult {encoder:?} and decoder_mult {decoder:?} differ in length"
        );
        let channels = encoder.iter().chain(decoder);
        let channels = channels.map(|mult| mult * self.model.base_channels);
        config::check_norm_groups(self.model.norm_groups.unwrap_or(32), channels)
    }
}

impl Run for BsqRun {
    type Task = BsqTask;
    type Batches = ImageBatches;

    fn check(&self, set: &Dataset) -> Result<()> {
        self.check_model()?;
        config::check_latent(self.schedule()?.last(), set.size(), self.model.stride())?;
        ensure!(self.batch > 0, "batch must be at least 1");
        self.settings().check(set.size())
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device.clone().autodiff();
        device.seed(self.seed);
        let model = self.settings().model(self.model(&device)?, &device);
        let task = BsqTask {
            schedule: self.schedule()?,
            bsq: Bsq::new(self.model.bits),
            size: set.size(),
            held_out: held_out(&set, 128).1,
            objective: self.settings().objective(&device)?,
            frozen: self.encoder_of.is_some(),
            precision: self.precision,
            loss: self.loss.clone(),
            device,
        };
        let batches = ImageBatches {
            shuffle: Shuffle::new(self.seed, set.train_ids()),
            set,
            seed: self.seed,
            count: self.batch,
            augment: self.augment,
            drop: self.loss.drop_scales,
            scales: self.scales.len(),
        };
        Ok((task, model, batches))
    }
}

/// Loss and measurements.
pub(crate) struct BsqTask {
    schedule: ScaleSchedule,
    bsq: Bsq,
    size: usize,
    held_out: Vec<f32>,
    loss: BsqLoss,
    objective: Objective,
    /// Whether only the decoder is trained.
    frozen: bool,
    precision: Precision,
    device: Device,
}

impl BsqTask {
    /// The loss of a batch, and its gradients.
    fn step(&self, model: &<Self as Task>::Model, batch: ImageBatch) -> (Loss, GradientsParams) {
        let vae = &model.autoencoder;
        let pixels = planes::images(batch.pixels, self.size, &self.device);
        let latent = vae.encode(pixels.clone());
        let latent = if self.frozen { latent.detach() } else { latent };
        let quantised = self
            .bsq
            .quantize_straight_through(latent, &self.schedule, batch.scales);
        let features = vae.features(quantised.latent.clone());
        let images = vae.pixels(features.clone());
        let features = features.detach();
        let last_layer = |gradient| {
            let images = vae.pixels(features.clone());
            gradient_norm(images, gradient, &vae.decoder.conv_out.weight)
        };
        let CodeLoss { terms, parts } = self.loss.of_codes(quantised);
        let batch = Reconstruction {
            number: batch.number,
            target: pixels,
            images,
            frames: 1,
            error: &|error| self.loss.of_pixels(error),
            last_layer: &last_layer,
            terms,
            parts,
            examples: batch.count,
        };
        self.objective.gradients(model, batch)
    }
}

impl Task for BsqTask {
    type Model = Adversarial<BsqVae>;
    type Batch = ImageBatch;

    fn gradients(&self, model: &Self::Model, batch: ImageBatch) -> (Loss, GradientsParams) {
        let half = self.precision == Precision::Bf16;
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

    /// PSNR of the held-out images in dB, after all scales (`psnr`) and without the quantiser (`psnr_free`).
    fn evaluate(&self, average: &Self::Model) -> Vec<(String, f64)> {
        let average = &average.autoencoder;
        let device = self.device.clone().inner();
        let batches = planes::image_batches(&self.held_out, 32, self.size, &device);
        let [quantised, free] = psnr(batches, |pixels| {
            let z = average.encode(pixels);
            let (schedule, scales) = (&self.schedule, self.schedule.len());
            let quantised = self
                .bsq
                .quantize_straight_through(z.clone(), schedule, scales);
            [average.decode(quantised.latent), average.decode(z)]
        });
        vec![
            ("psnr".to_owned(), quantised),
            ("psnr_free".to_owned(), free),
        ]
    }
}
