//! Batches, loss and measurements of VAR: cross entropy of the codes of all scales under teacher forcing.

use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use nextscale_data::Dataset;
use nextscale_tokenizer::{ScaleSchedule, VqVae};
use nextscale_var_core::train::{Loss, Task};
use nextscale_var_core::var::{CodeLoss, Plan, TeacherForcing, Var, VarConfig, loss};

use crate::batches::labelled::{LabelledBatch, LabelledBatches, LabelledHeldOut};
use crate::batches::planes;
use crate::error::Result;
use crate::run::{Run, Start, StartContext};
use crate::run_folder::store_classes;
use crate::tokenizer::import::import_tokenizer;
use crate::tokenizer::vq::VqRun;
use crate::transformer::var::config::VarRun;

impl Run for VarRun {
    type Task = VarTask;
    type Batches = LabelledBatches;

    fn check(&self, set: &Dataset) -> Result<()> {
        self.check_sizes(set)
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let device = context.device;
        let (vae, tokenizer) = import_tokenizer::<VqRun>(context.out, &self.tokenizer, device)?;
        let schedule = tokenizer.schedule()?;
        self.check_tokenizer(set.size(), &tokenizer.model, &schedule)?;
        store_classes(context.out, &set)?;
        let config = self.model_config(&tokenizer.model, &schedule, set.classes().len());
        let task = VarTask::new(self.clone(), vae, &config, &set, device);
        device.seed(self.seed);
        let model = config.init(&device.clone().autodiff());
        let drop = self.condition_drop;
        let batches = LabelledBatches::new(set, self.seed, self.batch, self.augment, drop);
        Ok((task, model, batches))
    }
}

/// Loss and measurements.
pub(crate) struct VarTask {
    run: VarRun,
    vae: VqVae,
    schedule: ScaleSchedule,
    /// Plans of the first 2, 3, ... scales.
    plans: Vec<Plan>,
    /// The weight of every token.
    weights: Vec<f32>,
    size: usize,
    device: Device,
    held_out: LabelledHeldOut,
}

impl VarTask {
    /// The task of a run that was checked; `vae` and `device` are without autodiff.
    pub(super) fn new(
        run: VarRun,
        vae: VqVae,
        config: &VarConfig,
        set: &Dataset,
        device: &Device,
    ) -> Self {
        let schedule = config.schedule.clone();
        let plan = |scales: usize| {
            let first = VarConfig {
                schedule: first(&schedule, scales),
                ..config.clone()
            };
            Plan::teacher_forcing(&first, device).with_precision(run.precision)
        };
        let weights = run.weighting.weights(&schedule, device).into_data();
        Self {
            plans: (2..=schedule.len()).map(plan).collect(),
            weights: weights.convert::<f32>().iter().collect(),
            size: set.size(),
            device: device.clone(),
            held_out: LabelledHeldOut::new(set, 128),
            schedule,
            run,
            vae,
        }
    }

    /// The loss of images on the first `scales` scales, the last of which has a `share` of its weight.
    fn code_loss(
        &self,
        model: &Var,
        pixels: Vec<f32>,
        labels: &[usize],
        scales: usize,
        share: f64,
    ) -> CodeLoss {
        let pixels = planes::images(pixels, self.size, &self.device);
        let codes = self.vae.encode_codes(pixels, &self.schedule).codes;
        let forcing = TeacherForcing::new(&self.vae.pyramid(), &codes, &self.schedule);
        let plan = &self.plans[scales - 2];
        let offsets = plan.schedule().offsets();
        let (newest, l) = (offsets[scales - 1], offsets[scales]);
        let mut weights = self.weights[..l].to_vec();
        weights[newest..]
            .iter_mut()
            .for_each(|w| *w *= share as f32);
        let weights = Tensor::from_data(TensorData::new(weights, [1, l]), &self.device);
        let forcing = forcing.first(plan.schedule());
        let smoothing = self.run.label_smoothing;
        loss(model, &forcing, labels, plan, &weights, smoothing)
    }
}

/// The first scales of a schedule.
fn first(schedule: &ScaleSchedule, scales: usize) -> ScaleSchedule {
    let scales = schedule.scales()[..scales].to_vec();
    ScaleSchedule::new(scales).expect("the start of a schedule is a schedule")
}

impl VarTask {
    /// The loss of a batch.
    fn loss(&self, model: &Var, batch: LabelledBatch) -> Loss {
        let all = self.schedule.len();
        let step = batch.number / self.run.train.parallel.max(1) as u64;
        let progressive = self.run.progressive.as_ref();
        let (scales, share) = progressive.map_or((all, 1.0), |p| p.at(step, all));
        let examples = batch.labels.len();
        let losses = self.code_loss(model, batch.pixels, &batch.labels, scales, share);
        Loss {
            total: losses.loss,
            parts: vec![("right", losses.right.mean())],
            examples,
        }
    }
}

impl Task for VarTask {
    type Model = Var;
    type Batch = LabelledBatch;

    fn gradients(&self, model: &Var, batch: LabelledBatch) -> (Loss, GradientsParams) {
        self.loss(model, batch).gradients(model)
    }

    /// Loss and share of right codes on held-out images, over all scales and on the last one alone.
    fn evaluate(&self, average: &Var) -> Vec<(String, f64)> {
        let (all, tokens) = (self.schedule.len(), self.schedule.tokens());
        let last = tokens - self.schedule.last().tokens()..tokens;
        let means = self.held_out.means(|pixels, labels| {
            let CodeLoss {
                per_token, right, ..
            } = self.code_loss(average, pixels, labels, all, 1.0);
            let tail = |x: &Tensor<2>| x.clone().slice_dim(1, last.clone());
            let tails = [tail(&per_token), tail(&right)];
            let [tail_loss, tail_right] = tails.map(Tensor::mean);
            [per_token.mean(), right.mean(), tail_loss, tail_right]
        });
        let [loss, right, tail_loss, tail_right] = means;
        vec![
            ("held_out_loss".to_owned(), loss),
            ("held_out_right".to_owned(), right),
            ("held_out_tail_loss".to_owned(), tail_loss),
            ("held_out_tail_right".to_owned(), tail_right),
        ]
    }

    fn no_decay(&self) -> &[&str] {
        &["pos", "lvl_embed", "modulation", "log_scale"]
    }
}
