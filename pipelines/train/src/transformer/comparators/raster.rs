//! Loss and measurements of a raster transformer: cross entropy of the codes of a single grid.

use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use nextscale_comparators::raster::{Raster, RasterLoss, loss};
use nextscale_data::Dataset;
use nextscale_tokenizer::{ScaleSchedule, VqVae};
use nextscale_var_core::train::{Loss, Task};

use super::config::{RasterRun, check_size};
use crate::batches::labelled::{LabelledBatch, LabelledBatches, LabelledHeldOut};
use crate::batches::planes;
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
        let task = RasterTask {
            vae,
            schedule,
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
pub(crate) struct RasterTask {
    run: RasterRun,
    vae: VqVae,
    schedule: ScaleSchedule,
    size: usize,
    device: Device,
    held_out: LabelledHeldOut,
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
        let [loss, right] = self.held_out.means(|pixels, labels| {
            let RasterLoss { loss, right } = self.loss(average, pixels, labels);
            [loss, right]
        });
        vec![
            ("held_out_loss".to_owned(), loss),
            ("held_out_right".to_owned(), right),
        ]
    }

    fn no_decay(&self) -> &[&str] {
        &["class_embed", "code_embed"]
    }
}
