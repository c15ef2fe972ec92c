//! Loss and measurements of a diffusion transformer: the error of the velocity or the noise.

use std::path::Path;
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use nextscale_comparators::dit::{Dit, Noised, Process, loss, noise};
use nextscale_data::{Dataset, captions::WHITE};
use nextscale_tokenizer::VqVae;
use nextscale_var_core::train::{Loss, Task};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::config::{DitRun, check_size};
use crate::batches::labelled::{LabelledBatch, LabelledBatches, LabelledHeldOut};
use crate::batches::planes;
use crate::error::{Result, TrainError};
use crate::run::{Run, Start, StartContext};
use crate::run_folder::{self, store_classes};
use crate::shuffle::rng_for;
use crate::tokenizer::import::import_tokenizer;
use crate::tokenizer::vq::VqRun;

/// The file of a run with the [`Spread`] of its latents.
const SPREAD: &str = "latents.json";
/// Images from which it is measured.
const MEASURED: usize = 256;

/// Where latents lie: diffusion takes them with a mean of 0 and a deviation of 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    /// The mean of all their numbers.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
}

impl Spread {
    /// That of the run `out`.
    pub fn read(out: &Path) -> Result<Self> {
        let path = out.join(SPREAD);
        let bytes = std::fs::read(&path).map_err(TrainError::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| TrainError::io("read", &path)(error.into()))
    }

    /// That of the run, which is measured and stored the first time.
    fn of(out: &Path, vae: &VqVae, set: &Dataset, device: &Device) -> Result<Self> {
        let path = out.join(SPREAD);
        if path.is_file() {
            return Self::read(out);
        }
        let mut pixels = vec![];
        let ids = set.train_ids();
        let step = ids.len().div_ceil(MEASURED).max(1);
        for &id in ids.iter().step_by(step) {
            planes::append(&[set.image(id, WHITE)], &mut pixels);
        }
        let stride = 3 * set.size() * set.size();
        let parts = pixels.chunks(32 * stride).map(|pixels| {
            let images = planes::images(pixels.to_vec(), set.size(), device);
            vae.encode(images).flatten::<1>(0, 4)
        });
        let all = Tensor::cat(parts.collect(), 0);
        let mean: f32 = all.clone().mean().into_scalar();
        let off = all - mean;
        let square: f32 = (off.clone() * off).mean().into_scalar();
        let spread = Self {
            mean: f64::from(mean),
            deviation: f64::from(square).sqrt().max(1e-6),
        };
        let bytes = serde_json::to_vec(&spread).expect("two numbers are JSON");
        run_folder::write(&path, &bytes)?;
        Ok(spread)
    }

    /// Latents `[b, c, 1, s, s]` of an auto-encoder as diffusion takes them, `[b, c, s, s]`.
    fn standard(self, latents: Tensor<5>) -> Tensor<4> {
        let [b, c, _, h, w] = latents.dims();
        (latents.reshape([b, c, h, w]) - self.mean) / self.deviation
    }

    /// The way back.
    pub fn original(self, latents: Tensor<4>) -> Tensor<5> {
        (latents * self.deviation + self.mean).unsqueeze_dim(2)
    }
}

impl Run for DitRun {
    type Task = DitTask;
    type Batches = LabelledBatches;

    fn check(&self, set: &Dataset) -> Result<()> {
        self.model.check(set, self.batch, self.condition_drop)
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device;
        let (vae, tokenizer) = import_tokenizer::<VqRun>(context.out, &self.tokenizer, device)?;
        let schedule = tokenizer.schedule()?;
        check_size(set.size(), &tokenizer.model, &schedule)?;
        let config = self.config(&tokenizer.model, &schedule, set.classes().len())?;
        store_classes(context.out, &set)?;
        let task = DitTask {
            spread: Spread::of(context.out, &vae, &set, device)?,
            vae,
            size: set.size(),
            device: device.clone(),
            held_out: LabelledHeldOut::new(&set, 128),
            run: self.clone(),
        };
        device.seed(self.seed);
        let model = config.init(&device.clone().autodiff());
        let drop = self.condition_drop;
        let batches = LabelledBatches::new(set, self.seed, self.batch, self.augment, drop);
        Ok((task, model, batches))
    }
}

/// Loss and measurements.
pub(crate) struct DitTask {
    run: DitRun,
    vae: VqVae,
    spread: Spread,
    size: usize,
    device: Device,
    held_out: LabelledHeldOut,
}

impl DitTask {
    /// The loss of images, whose noise and times follow from the number of their batch.
    fn loss(&self, model: &Dit, pixels: Vec<f32>, labels: &[usize], number: u64) -> Tensor<1> {
        let pixels = planes::images(pixels, self.size, &self.device);
        let latents = self.spread.standard(self.vae.encode(pixels));
        let mut rng = rng_for(self.run.seed ^ 0x6e_6f69_7365, number);
        let process: Process = self.run.process;
        let times: Vec<f32> = labels.iter().map(|_| process.time(rng.random())).collect();
        let seeds: Vec<u64> = labels.iter().map(|_| rng.random()).collect();
        let noise = noise(&seeds, model.config(), &self.device);
        let tape = model.class_embed.val().is_autodiff();
        let on_tape = |x: Tensor<4>| if tape { Tensor::from_inner(x) } else { x };
        let batch = Noised {
            latents: on_tape(latents),
            noise: on_tape(noise),
            times: &times,
            labels,
        };
        loss(model, batch, process, self.run.precision)
    }
}

impl Task for DitTask {
    type Model = Dit;
    type Batch = LabelledBatch;

    fn gradients(&self, model: &Dit, batch: LabelledBatch) -> (Loss, GradientsParams) {
        let loss = Loss {
            total: self.loss(model, batch.pixels, &batch.labels, batch.number),
            parts: vec![],
            examples: batch.labels.len(),
        };
        loss.gradients(model)
    }

    fn evaluate(&self, average: &Dit) -> Vec<(String, f64)> {
        // Other noise than any batch has.
        let mut numbers = (0..=u64::MAX).rev();
        let [loss] = self.held_out.means(|pixels, labels| {
            let number = numbers.next().unwrap_or_default();
            [self.loss(average, pixels, labels, number)]
        });
        vec![("held_out_loss".to_owned(), loss)]
    }

    fn no_decay(&self) -> &[&str] {
        &["class_embed"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latents_come_back() {
        let spread = Spread {
            mean: 2.0,
            deviation: 4.0,
        };
        let row = Tensor::<1>::from_floats([0.0, 1.0], &Device::flex());
        let back = spread.original(row.reshape([1, 2, 1, 1]));
        let numbers: Vec<f32> = back.clone().into_data().iter().collect();
        assert_eq!(numbers, [2.0, 6.0]);
        let again: Vec<f32> = spread.standard(back).into_data().iter().collect();
        assert_eq!(again, [0.0, 1.0]);
    }
}
