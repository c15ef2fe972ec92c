//! `nextscale train transformer` with `kind: var`: VAR's transformer on the codes of a tokenizer with a codebook, which
//! was trained before and stays as it is.
//!
//! The class of one picture in ten is replaced by that of no class, so that guidance has something to compare with.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use burn::tensor::{Device, Tensor, TensorData};
use nextscale_tokenizer::{ScaleSchedule, VqVae, VqVaeConfig};
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::ScaleWeighting;
use nextscale_var_core::train::{Batches, Loss, Task, TrainOptions};
use nextscale_var_core::var::{CodeLoss, TeacherForcing, loss};
use nextscale_var_core::var::{Modulation, Plan, Var, VarConfig};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::batches::images::{Augment, held_out_batch};
use crate::shuffle::{Order, stream};
use crate::tokenizer::reconstruction::tensor;
use crate::transformer::TransformerKind;
use nextscale_data::Dataset;
use nextscale_data::captions::WHITE;
use nextscale_models::sampling::Sampling;

/// What `nextscale train transformer` reads for a model of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRun {
    /// [`TransformerKind::Var`].
    pub kind: TransformerKind,
    /// Folder of the pictures, as `nextscale data build` made it; they must have classes.
    pub data: PathBuf,
    /// Folder of the tokenizer's run.
    pub tokenizer: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Pictures a step.
    pub batch: usize,
    /// How pictures are varied.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the transformer; the scales are the tokenizer's.
    pub model: ClassSizes,
    /// How much the tokens of each scale count.
    #[serde(default)]
    pub weighting: ScaleWeighting,
    /// Share of the target that all codes get alike, 0 to 1.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Whether the coarse scales are trained before the fine ones.
    #[serde(default)]
    pub progressive: Option<Progressive>,
    /// How the finished model samples unless told otherwise.
    #[serde(default = "default_sampling")]
    pub sampling: Sampling,
    /// What the finished model is called.
    #[serde(default)]
    pub name: String,
    /// What the finished model paints, what it was trained on, and its licence.
    #[serde(default)]
    pub about: String,
    /// In which numbers the blocks' matrix products multiply: `bf16` halves their time on CPUs that have it.
    #[serde(default)]
    pub precision: Precision,
    /// Share of classes that are replaced by no class.
    #[serde(default = "default_drop")]
    pub condition_drop: f64,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

fn default_drop() -> f64 {
    0.1
}

fn default_sampling() -> Sampling {
    Sampling {
        cfg: 1.5,
        temperature: 1.0,
        top_k: 0,
        top_p: 0.96,
    }
}

/// Sizes of the transformer; the rest follows from the tokenizer and the data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSizes {
    /// Numbers a token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden units of the feed-forward over the width.
    #[serde(default = "default_ratio")]
    pub mlp_ratio: f64,
    /// Where the blocks' gains, scales and shifts come from.
    #[serde(default = "default_modulation")]
    pub modulation: Modulation,
    /// What queries and keys are compared by.
    #[serde(default = "default_attention")]
    pub attention: AttentionKind,
}

fn default_ratio() -> f64 {
    4.0
}

fn default_modulation() -> Modulation {
    Modulation::Own
}

fn default_attention() -> AttentionKind {
    AttentionKind::Cosine
}

/// Coarse scales first (`pg` of the reference's trainer, in steps).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progressive {
    /// Scales at the start, at least 2.
    pub from: usize,
    /// Steps until the next scale joins.
    pub steps: u64,
    /// Steps in which the weight of a scale that joins grows to its full value.
    #[serde(default)]
    pub warmup_steps: u64,
}

impl Progressive {
    /// How many of `all` scales take part in a step, and the share that the last of them has of its weight.
    pub fn at(&self, step: u64, all: usize) -> (usize, f64) {
        let joined = (step / self.steps).min((all - self.from) as u64);
        let since = step - joined * self.steps + 1;
        let share = match joined {
            0 => 1.0,
            _ => (since as f64 / self.warmup_steps.max(1) as f64).min(1.0),
        };
        (self.from + joined as usize, share)
    }
}

impl ClassRun {
    /// The transformer's shapes on a tokenizer and for so many classes.
    pub fn model_config(
        &self,
        vae: &VqVaeConfig,
        schedule: &ScaleSchedule,
        classes: usize,
    ) -> VarConfig {
        VarConfig {
            width: self.model.width,
            depth: self.model.depth,
            heads: self.model.heads,
            classes,
            vocabulary: vae.vocabulary,
            channels: vae.channels,
            schedule: schedule.clone(),
            mlp_ratio: self.model.mlp_ratio,
            modulation: self.model.modulation,
            attention: self.model.attention,
        }
    }

    /// Refuses what doesn't fit together.
    ///
    /// # Errors
    /// When the pictures have no classes or another size than the tokenizer's, or a size contradicts another.
    pub fn check(
        &self,
        set: &Dataset,
        vae: &VqVaeConfig,
        schedule: &ScaleSchedule,
    ) -> anyhow::Result<()> {
        let folder = self.data.display();
        ensure!(
            !set.classes().is_empty(),
            "data: the pictures in `{folder}` have no classes; `kind: var` needs them"
        );
        let (last, stride) = (schedule.last(), vae.stride());
        ensure!(
            (last.h * stride, last.w * stride) == (set.size(), set.size()),
            "tokenizer: it was trained on pictures of {}x{} pixels, those in `{folder}` have {size}x{size}",
            last.w * stride,
            last.h * stride,
            size = set.size()
        );
        let ClassSizes {
            width,
            depth,
            heads,
            mlp_ratio,
            ..
        } = self.model;
        ensure!(
            heads > 0 && width > 0 && width.is_multiple_of(heads),
            "model.heads: the width {width} does not split into {heads} heads"
        );
        ensure!(
            depth > 0 && mlp_ratio > 0.0,
            "model: depth and mlp_ratio must not be 0"
        );
        ensure!(self.batch > 0, "batch must be at least 1");
        for (key, share) in [
            ("condition_drop", self.condition_drop),
            ("label_smoothing", self.label_smoothing),
        ] {
            ensure!(
                (0.0..1.0).contains(&share),
                "{key}: {share} is no share between 0 and 1"
            );
        }
        let all = schedule.len();
        ensure!(
            all > 1,
            "tokenizer: a transformer needs two scales, it has {all}"
        );
        if let Some(Progressive { from, steps, .. }) = self.progressive {
            ensure!(
                (2..=all).contains(&from),
                "progressive.from: {from} is not between 2 and the {all} scales of the tokenizer"
            );
            ensure!(steps > 0, "progressive.steps must be at least 1");
        }
        Ok(())
    }
}

/// Pictures and their classes.
pub struct ClassBatch {
    number: u64,
    pixels: Vec<f32>,
    labels: Vec<usize>,
}

/// Makes [`ClassBatch`]es of the pictures that are not held out.
pub struct ClassBatches {
    set: Arc<Dataset>,
    order: Order,
    run: ClassRun,
}

impl ClassBatches {
    /// The batches of a run.
    pub fn new(set: Arc<Dataset>, run: ClassRun) -> Self {
        let order = Order::new(run.seed, set.train_ids());
        Self { set, order, run }
    }
}

impl Batches for ClassBatches {
    type Batch = ClassBatch;

    fn batch(&mut self, number: u64) -> ClassBatch {
        let mut rng = stream(self.run.seed ^ 0x63_6c61_7373, number);
        let count = self.run.batch;
        let mut pixels = Vec::with_capacity(count * 3 * self.set.size() * self.set.size());
        let mut labels = Vec::with_capacity(count);
        for slot in 0..count as u64 {
            let index = self.order.at(number * count as u64 + slot);
            self.run
                .augment
                .append(&self.set, index, WHITE, &mut rng, &mut pixels);
            labels.push(match rng.random_bool(self.run.condition_drop) {
                true => self.set.classes().len(),
                false => label(&self.set, index),
            });
        }
        ClassBatch {
            number,
            pixels,
            labels,
        }
    }
}

fn label(set: &Dataset, index: usize) -> usize {
    set.class(index)
        .expect("the set was checked to have classes")
}

/// The task.
pub struct ClassTask {
    run: ClassRun,
    vae: VqVae,
    schedule: ScaleSchedule,
    /// Plans for the first scales, from two of them on.
    plans: Vec<Plan>,
    /// How much every token counts.
    weights: Vec<f32>,
    size: usize,
    device: Device,
    held_out: (Vec<f32>, Vec<usize>),
}

impl ClassTask {
    /// The task of a run that was checked; `vae` and `device` are without autodiff.
    pub fn new(
        run: ClassRun,
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
        let (ids, pixels) = held_out_batch(set, 128);
        Self {
            plans: (2..=schedule.len()).map(plan).collect(),
            weights: weights.convert::<f32>().iter().collect(),
            size: set.size(),
            device: device.clone(),
            held_out: (pixels, ids.into_iter().map(|id| label(set, id)).collect()),
            schedule,
            run,
            vae,
        }
    }

    /// The loss of pictures on the first `scales` scales, the last of which has a `share` of its weight.
    fn measured(
        &self,
        model: &Var,
        pixels: Vec<f32>,
        labels: &[usize],
        scales: usize,
        share: f64,
    ) -> CodeLoss {
        let pixels = tensor(pixels, self.size, &self.device);
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

impl Task for ClassTask {
    type Model = Var;
    type Batch = ClassBatch;

    fn loss(&self, model: &Var, batch: ClassBatch) -> Loss {
        let all = self.schedule.len();
        let step = batch.number / self.run.train.parallel.max(1) as u64;
        let progressive = self.run.progressive.as_ref();
        let (scales, share) = progressive.map_or((all, 1.0), |p| p.at(step, all));
        let examples = batch.labels.len();
        let measured = self.measured(model, batch.pixels, &batch.labels, scales, share);
        Loss {
            total: measured.loss,
            parts: vec![("right", measured.right.mean())],
            examples,
        }
    }

    /// Loss and share of codes guessed right on held-out pictures, over all scales and on the last one alone.
    fn evaluate(&self, average: &Var) -> Vec<(&'static str, f64)> {
        let (pixels, labels) = &self.held_out;
        let stride = 3 * self.size * self.size;
        let mut sums = [0.0; 4];
        for (pixels, labels) in pixels.chunks(32 * stride).zip(labels.chunks(32)) {
            let all = self.schedule.len();
            let CodeLoss {
                per_token, right, ..
            } = self.measured(average, pixels.to_vec(), labels, all, 1.0);
            let tail = |x: &Tensor<2>| {
                let l = self.schedule.tokens();
                x.clone().slice_dim(1, l - self.schedule.last().tokens()..l)
            };
            let parts = [tail(&per_token), tail(&right)];
            let [tail_loss, tail_right] = parts;
            for (sum, part) in sums
                .iter_mut()
                .zip([per_token, right, tail_loss, tail_right])
            {
                *sum += f64::from(part.mean().into_scalar::<f32>()) * labels.len() as f64;
            }
        }
        let [loss, right, tail_loss, tail_right] = sums.map(|sum| sum / labels.len() as f64);
        vec![
            ("held_out_loss", loss),
            ("held_out_right", right),
            ("held_out_tail_loss", tail_loss),
            ("held_out_tail_right", tail_right),
        ]
    }

    fn no_decay(&self) -> &[&str] {
        &["pos", "lvl_embed", "modulation", "log_scale"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_join_one_by_one_with_growing_weight() {
        let progressive = Progressive {
            from: 2,
            steps: 10,
            warmup_steps: 4,
        };
        let at = |step| progressive.at(step, 4);
        assert_eq!(at(0), (2, 1.0));
        assert_eq!(at(9), (2, 1.0));
        assert_eq!(at(10), (3, 0.25));
        assert_eq!(at(13), (3, 1.0));
        assert_eq!(at(20), (4, 0.25));
        assert_eq!(at(1000), (4, 1.0));
        let all = Progressive {
            from: 4,
            ..progressive
        };
        assert_eq!(all.at(50, 4), (4, 1.0));
    }
}
