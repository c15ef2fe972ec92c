//! Loss and measurements of a raster transformer: cross entropy of the codes of a single grid.

use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use nextscale_comparators::raster::{Raster, RasterLoss, loss};
use nextscale_data::Dataset;
use nextscale_tokenizer::{ScaleSchedule, VqVae};
use nextscale_var_core::train::{Loss, Task};

use super::config::{RasterRun, check_size};
use crate::batches::labelled::{LabelledBatch, LabelledBatches, label};
use crate::batches::{images::held_out, planes};
use crate::error::Result;
use crate::run::{Run, Start, StartContext};
use crate::run_folder::store_classes;
use crate::tokenizer::import::import_tokenizer;
use crate::tokenizer::vq::VqRun;

impl Run for RasterRun {
    type Task = RasterTask;
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
        let (ids, pixels) = held_out(&set, 128);
        let task = RasterTask {
            vae,
            schedule,
            size: set.size(),
            device: device.clone(),
            held_out: (pixels, ids.into_iter().map(|id| label(&set, id)).collect()),
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
pub(crate) struct RasterTask {
    run: RasterRun,
    vae: VqVae,
    schedule: ScaleSchedule,
    size: usize,
    device: Device,
    held_out: (Vec<f32>, Vec<usize>),
}

impl RasterTask {
    fn loss(&self, model: &Raster, pixels: Vec<f32>, labels: &[usize]) -> RasterLoss {
        let pixels = planes::images(pixels, self.size, &self.device);
        let codes = self.vae.encode_codes(pixels, &self.schedule).codes;
        let codes: Tensor<4, Int> = codes[0].clone().indices().expect("codes of a codebook");
        let [b, t, h, w] = codes.dims();
        let codes = codes.reshape([b, t * h * w]);
        let codes = if model.code_embed.val().is_autodiff() {
            Tensor::from_inner(codes)
        } else {
            codes
        };
        loss(model, codes, labels, self.run.precision)
    }
}

impl Task for RasterTask {
    type Model = Raster;
    type Batch = LabelledBatch;

    fn gradients(&self, model: &Raster, batch: LabelledBatch) -> (Loss, GradientsParams) {
        let losses = self.loss(model, batch.pixels, &batch.labels);
        let loss = Loss {
            total: losses.loss,
            parts: vec![("right", losses.right)],
            examples: batch.labels.len(),
        };
        loss.gradients(model)
    }

    fn evaluate(&self, average: &Raster) -> Vec<(String, f64)> {
        let (pixels, labels) = &self.held_out;
        let stride = 3 * self.size * self.size;
        let mut sums = [0.0; 2];
        for (pixels, labels) in pixels.chunks(32 * stride).zip(labels.chunks(32)) {
            let RasterLoss { loss, right } = self.loss(average, pixels.to_vec(), labels);
            for (sum, part) in sums.iter_mut().zip([loss, right]) {
                *sum += f64::from(part.into_scalar::<f32>()) * labels.len() as f64;
            }
        }
        let [loss, right] = sums.map(|sum| sum / labels.len() as f64);
        vec![
            ("held_out_loss".to_owned(), loss),
            ("held_out_right".to_owned(), right),
        ]
    }

    fn no_decay(&self) -> &[&str] {
        &["class_embed", "code_embed"]
    }
}
