//! VAR: classes to images, code by code.

use std::cell::OnceCell;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use nextscale_data::Dataset;
use nextscale_models::{Model, Placement};
use nextscale_tokenizer::VqCodes;
use nextscale_var_core::train::{DropPath, Loss, ScaleWeighting};
use nextscale_var_core::var::{Plan, TeacherForcing, Var, VarChain, VarConfig, save_var};
use nextscale_weights::WeightDtype;

use super::batches::TunedBatch;
use super::config::FineTuneConfig;
use super::family::{Encoder, Family, Measured, Ready, gradients, latents, noise, number, shares};
use super::infinity::image;
use super::tuned::{TunedModel, Tuning};
use crate::error::{Result, ensure};

/// Settings of a fine-tune of VAR, whose models have one size each.
pub(crate) struct VarFamily {
    transformer: VarConfig,
    codes: VqCodes,
    plan: Plan,
    weights: Tensor<2>,
    smoothing: f64,
    drop_path: f64,
    device: Device,
}

struct Prepared {
    forcing: TeacherForcing,
    labels: Vec<usize>,
    drop_path: Option<DropPath>,
}

impl VarFamily {
    fn prepare(&self, mut batch: TunedBatch) -> Prepared {
        let shape = self.latent(batch.bucket);
        let latent = latents(std::mem::take(&mut batch.latents), shape, &self.device);
        let (depth, count) = (self.transformer.depth, batch.labels.len());
        let rate = self.drop_path;
        let drop_path = noise(&mut batch).and_then(|rng| DropPath::draw(rate, depth, count, rng));
        let (pyramid, schedule) = (self.codes.pyramid(), &self.transformer.schedule);
        let codes = pyramid.encode(latent, schedule).codes;
        Prepared {
            forcing: TeacherForcing::new(&pyramid, &codes, schedule),
            labels: batch.labels,
            drop_path,
        }
    }

    fn chain<'a>(
        &'a self,
        prepared: &'a Prepared,
        weights: &'a Tuning<Var>,
        smoothing: f64,
    ) -> VarChain<'a, Tuning<Var>> {
        VarChain {
            weights,
            batch: &prepared.forcing,
            labels: &prepared.labels,
            plan: &self.plan,
            token_weights: &self.weights,
            smoothing,
            drop_path: prepared.drop_path.clone(),
            right: OnceCell::new(),
        }
    }
}

impl Family for VarFamily {
    type Transformer = Var;

    const NO_DECAY: &'static [&'static str] = &["pos", "lvl_embed", "modulation", "log_scale"];

    fn new(config: &FineTuneConfig, model: &Model, set: &Dataset, device: &Device) -> Result<Self> {
        let transformer = model.var()?.transformer.clone();
        ensure!(
            set.frames() == 1 && !set.classes().is_empty(),
            "data: `{}` needs images with classes, as `{}` generates them; build it with `labels: classes`",
            config.data.display(),
            config.from
        );
        let own = model.default_size()?;
        let wanted = [own.width, own.height];
        ensure!(
            set.sizes() == [wanted],
            "data: `{}` has images of {:?} pixels, and `{}` generates {wanted:?}; build it with `size: {}`",
            config.data.display(),
            set.sizes(),
            config.from,
            own.width
        );
        let weighting = config.weighting.unwrap_or(ScaleWeighting::Uniform);
        Ok(Self {
            codes: model.load_vq_codes(device)?,
            plan: Plan::teacher_forcing(&transformer, device).with_precision(config.precision),
            weights: weighting.weights(&transformer.schedule, device),
            smoothing: config.label_smoothing,
            drop_path: config.drop_path,
            device: device.clone(),
            transformer,
        })
    }

    fn load(model: &Model, placement: &Placement) -> Result<Var> {
        Ok(model.load_var(placement)?)
    }

    fn latent(&self, _: usize) -> [usize; 4] {
        let last = self.transformer.schedule.last();
        [self.transformer.channels, 1, last.h, last.w]
    }

    fn encoder(&self, model: &Model, placement: &Placement) -> Result<Encoder> {
        let vae = model.load_vq_vae(placement)?;
        Ok(Box::new(move |pixels| vae.encode(image(pixels))))
    }

    fn gradients(
        &self,
        weights: &Tuning<Var>,
        model: &TunedModel<Var>,
        batch: TunedBatch,
        by_block: bool,
        ready: Ready<'_>,
    ) -> Measured<Loss> {
        let prepared = self.prepare(batch);
        let chain = self.chain(&prepared, weights, self.smoothing);
        let result = gradients(&chain, model, by_block, ready);
        Measured {
            right: shares(chain.right.get(), &self.transformer.schedule.offsets()),
            result,
        }
    }

    fn measure(
        &self,
        weights: &Tuning<Var>,
        model: &TunedModel<Var>,
        batch: TunedBatch,
    ) -> Measured<f64> {
        let prepared = self.prepare(batch);
        let codes = self.chain(&prepared, weights, 0.0).loss(model);
        Measured {
            right: shares(Some(&codes.right), &self.transformer.schedule.offsets()),
            result: number(codes.loss),
        }
    }

    fn fresh(model: &Model, device: &Device) -> Result<Var> {
        Ok(model.var()?.transformer.init(device))
    }

    fn save(model: &Model, transformer: &Var, path: &Path) -> Result<()> {
        let config = &model.var()?.transformer;
        Ok(save_var(config, transformer, path, WeightDtype::F32)?)
    }

    fn blocks_of(model: &Model) -> Result<(usize, usize)> {
        let config = &model.var()?.transformer;
        Ok((config.depth, 1))
    }

    fn largest(&self) -> [usize; 3] {
        let config = &self.transformer;
        [config.heads, config.width, config.schedule.tokens()]
    }
}
