//! Loss and measurements of a classifier: cross entropy of the classes.

use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use nextscale_data::Dataset;
use nextscale_metrics::classifier::Classifier;
use nextscale_var_core::train::{Loss, Task};

use super::config::ClassifierRun;
use crate::batches::labelled::{LabelledBatch, LabelledBatches, LabelledHeldOut};
use crate::batches::planes;
use crate::error::{Result, TrainError, ensure};
use crate::run::{Run, Start, StartContext};
use crate::run_folder::store_classes;

impl Run for ClassifierRun {
    type Task = ClassifierTask;
    type Batches = LabelledBatches;

    fn check(&self, set: &Dataset) -> Result<()> {
        ensure!(
            !set.classes().is_empty(),
            "data: the images in `{}` have no classes, which a classifier learns",
            self.data.display()
        );
        ensure!(self.batch > 0, "batch must be at least 1");
        let fits = self.model.check(set.size());
        fits.map_err(|reason| TrainError::setting("model.channels", reason))
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device;
        store_classes(context.out, &set)?;
        let task = ClassifierTask {
            size: set.size(),
            device: device.clone(),
            held_out: LabelledHeldOut::new(&set, 2000),
        };
        device.seed(self.seed);
        let classes = set.classes().len();
        let model = self.model.init(classes, &device.clone().autodiff());
        let batches = LabelledBatches::new(set, self.seed, self.batch, self.augment, 0.0);
        Ok((task, model, batches))
    }
}

/// Loss and measurements.
pub(crate) struct ClassifierTask {
    size: usize,
    device: Device,
    held_out: LabelledHeldOut,
}

impl ClassifierTask {
    /// Mean cross entropy in nats, and the share of images whose largest logit is that of their class, `[1]` each.
    fn loss(&self, model: &Classifier, pixels: Vec<f32>, labels: &[usize]) -> [Tensor<1>; 2] {
        let tape = model.norm.weight.val().is_autodiff();
        let pixels = planes::images(pixels, self.size, &self.device);
        let images = if tape {
            Tensor::from_inner(pixels)
        } else {
            pixels
        };
        let logits = model.logits(model.features(images));
        let numbers = labels.iter().map(|&label| label as i32).collect();
        let numbers = TensorData::new(numbers, [labels.len(), 1]);
        let classes = Tensor::<2, Int>::from_data(numbers, &logits.device());
        let hits = logits.clone().argmax(1).equal(classes.clone());
        let right = hits.float().mean();
        let picked = log_softmax(logits, 1).gather(1, classes);
        [picked.mean().neg(), right]
    }
}

impl Task for ClassifierTask {
    type Model = Classifier;
    type Batch = LabelledBatch;

    fn gradients(&self, model: &Classifier, batch: LabelledBatch) -> (Loss, GradientsParams) {
        let [total, right] = self.loss(model, batch.pixels, &batch.labels);
        let loss = Loss {
            total,
            parts: vec![("right", right)],
            examples: batch.labels.len(),
        };
        loss.gradients(model)
    }

    fn evaluate(&self, average: &Classifier) -> Vec<(String, f64)> {
        let means = self
            .held_out
            .means(|pixels, labels| self.loss(average, pixels, labels));
        let [loss, right] = means;
        vec![
            ("held_out_loss".to_owned(), loss),
            ("held_out_right".to_owned(), right),
        ]
    }
}
