//! The loss of VAR's tokenizer: the reconstruction error plus the quantiser's loss, `mean_k beta |sg(f_k) - f|^2 +
//! |f_k - sg(f)|^2` ([`VqVae::quantise`]).
//!
//! The decoder's gradient passes straight through to the encoder; the quantiser's trains codebook and phi, and keeps the
//! latent near its codes.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::optim::GradientsParams;
use burn::tensor::Device;
use nextscale_data::Dataset;
use nextscale_tokenizer::conv::in_bf16;
use nextscale_tokenizer::usage::count;
use nextscale_tokenizer::{ScaleSchedule, VqVae};
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{Apart, Loss, Task};
use serde::de::Error as _;

use crate::batches::images::{ImageBatch, ImageBatches, held_out};
use crate::batches::planes;
use crate::error::Result;
use crate::run::{Run, Start, StartContext};
use crate::shuffle::Shuffle;
use crate::tokenizer::adversarial::Adversarial;
use crate::tokenizer::objective::{Objective, Reconstruction, gradient_norm};
use crate::tokenizer::reconstruction::{ReconstructionError, psnr};
use crate::tokenizer::vq::config::VqRun;
use crate::tokenizer::vq::revival::{BatchCodes, CodebookUse};

impl Run for VqRun {
    type Task = VqTask;
    type Batches = ImageBatches;

    fn check(&self, set: &Dataset) -> Result<()> {
        self.check_sizes(set.size())
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device.clone().autodiff();
        device.seed(self.seed);
        let settings = self.settings();
        let model = settings.model(self.model.init(&device), &device);
        let schedule = self.schedule()?;
        let task = VqTask {
            size: set.size(),
            held_out: held_out(&set, 256).1,
            codebook: Mutex::new(CodebookUse::new(schedule.len(), self.model.vocabulary)),
            schedule,
            objective: settings.objective(&device)?,
            run: self.clone(),
            device,
        };
        let batches = ImageBatches {
            shuffle: Shuffle::new(self.seed, set.train_ids()),
            set,
            seed: self.seed,
            count: self.batch,
            augment: self.augment,
            drop: 0.0,
            scales: self.scales.len(),
        };
        Ok((task, model, batches))
    }
}

/// Loss and measurements.
pub(crate) struct VqTask {
    run: VqRun,
    schedule: ScaleSchedule,
    size: usize,
    device: Device,
    held_out: Vec<f32>,
    codebook: Mutex<CodebookUse>,
    objective: Objective,
}

impl VqTask {
    fn codebook(&self) -> MutexGuard<'_, CodebookUse> {
        self.codebook.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl VqTask {
    /// The loss of a batch, and its gradients.
    fn step(&self, model: &<Self as Task>::Model, batch: ImageBatch) -> (Loss, GradientsParams) {
        let vae = &model.autoencoder;
        let pixels = planes::images(batch.pixels, self.size, &self.device);
        let weights = &self.run.loss;
        let quantised = vae.quantise(vae.encode(pixels.clone()), &self.schedule, weights.beta);
        let step = self.run.train.step_of(batch.number);
        let codes = BatchCodes::new(&self.run.revival, vae, step, batch.number, &quantised);
        self.codebook().add(codes);
        let features = vae.features(quantised.latent);
        let images = vae.pixels(features.clone());
        let features = features.detach();
        let last_layer = |gradient| {
            let images = vae.pixels(features.clone());
            gradient_norm(images, gradient, &vae.decoder.conv_out.weight)
        };
        let batch = Reconstruction {
            number: batch.number,
            target: pixels,
            images,
            frames: 1,
            error: &|error| ReconstructionError::new(error, weights.l1, weights.l2, weights.edge),
            last_layer: &last_layer,
            terms: vec![quantised.loss.clone() * weights.quantiser],
            parts: vec![("quantiser", quantised.loss.detach())],
            examples: batch.count,
        };
        self.objective.gradients(model, batch)
    }
}

impl Task for VqTask {
    type Model = Adversarial<VqVae>;
    type Batch = ImageBatch;

    fn gradients(&self, model: &Self::Model, batch: ImageBatch) -> (Loss, GradientsParams) {
        let half = self.run.precision == Precision::Bf16;
        in_bf16(half, || self.step(model, batch))
    }

    fn traces(&self) -> Vec<u8> {
        self.codebook().batches()
    }

    fn receive_traces(&self, all: Vec<Vec<u8>>) {
        self.codebook().set_batches(all);
    }

    /// Records the use of the codebook, and revives dead codes.
    fn after_step(&self, model: Self::Model, step: u64, progress: f64) -> Self::Model {
        let mut model = self.objective.after_step(model);
        let mut codebook = self.codebook();
        let (revival, seed) = (&self.run.revival, self.run.seed);
        model.autoencoder = codebook.revive(revival, model.autoencoder, step, progress, seed);
        model
    }

    fn apart(&self) -> Option<Apart> {
        self.objective.apart()
    }

    fn averaged<'a>(&self, model: &'a Self::Model) -> Cow<'a, Self::Model> {
        model.averaged()
    }

    fn measure(&self) -> Vec<(String, f64)> {
        self.codebook().measurements(&self.run.revival)
    }

    /// PSNR of the held-out images with all scales (`psnr`) and without the quantiser (`psnr_free`), in dB, and the share
    /// of the codes that they use.
    fn evaluate(&self, average: &Self::Model) -> Vec<(String, f64)> {
        let average = &average.autoencoder;
        let device = self.device.clone().inner();
        let vocabulary = average.codebook.vocabulary();
        let mut used = vec![false; vocabulary];
        let batches = planes::image_batches(&self.held_out, 32, self.size, &device);
        let [codes, free] = psnr(batches, |pixels| {
            let z = average.encode(pixels);
            let encoded = average.pyramid().encode(z.clone(), &self.schedule);
            for counts in count(&encoded.codes, vocabulary) {
                let all = used.iter_mut().zip(counts);
                all.for_each(|(used, count)| *used |= count > 0);
            }
            [average.decode(encoded.sum), average.decode(z)]
        });
        let used = used.iter().filter(|used| **used).count() as f64 / vocabulary as f64;
        vec![
            ("psnr".to_owned(), codes),
            ("psnr_free".to_owned(), free),
            ("held_out_used".to_owned(), used),
        ]
    }

    fn state(&self) -> Option<String> {
        Some(serde_json::to_string(&*self.codebook()).expect("numbers are JSON"))
    }

    fn restore_state(&self, state: &str) -> serde_json::Result<()> {
        let codebook: CodebookUse = serde_json::from_str(state)?;
        let (scales, codes) = (self.schedule.len(), self.run.model.vocabulary);
        if !codebook.fits(scales, codes) {
            let message = format!("not the use of {codes} codes on {scales} scales");
            return Err(serde_json::Error::custom(message));
        }
        *self.codebook() = codebook;
        Ok(())
    }

    fn no_decay(&self) -> &[&str] {
        &["codebook"]
    }
}
