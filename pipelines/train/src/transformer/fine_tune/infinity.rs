//! Infinity: prompts to images, bit by bit.

use std::cell::OnceCell;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::import::save_infinity;
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::InfinityChain;
use nextscale_data::Dataset;
use nextscale_models::{Model, Placement};
use nextscale_tokenizer::{Pyramid, ScaleSchedule};
use nextscale_var_core::train::{DropPath, Loss, ScaleWeighting};
use nextscale_weights::WeightDtype;

use super::batches::TunedBatch;
use super::config::FineTuneConfig;
use super::family::{
    Encoder, Family, Measured, Ready, gradients, latents, noise, number, padded, shares,
};
use super::tuned::{TunedModel, Tuning};
use crate::error::{Result, TrainError, ensure};

/// Sizes and settings of a fine-tune of Infinity.
pub(crate) struct InfinityFamily {
    transformer: InfinityConfig,
    patching: Patching,
    bsq: Bsq,
    correction: SelfCorrection,
    drop_path: f64,
    sizes: Vec<Bucket>,
    device: Device,
}

/// What one size needs.
struct Bucket {
    cells: ScaleSchedule,
    plan: Plan,
    weights: Tensor<2>,
}

/// What follows from a batch.
struct Prepared<'a> {
    bucket: &'a Bucket,
    forcing: TeacherForcing,
    text: TextCondition,
    drop: Vec<bool>,
    drop_path: Option<DropPath>,
}

impl InfinityFamily {
    fn prepare(&self, mut batch: TunedBatch) -> Prepared<'_> {
        let bucket = &self.sizes[batch.bucket];
        let shape = self.latent(batch.bucket);
        let latent = latents(std::mem::take(&mut batch.latents), shape, &self.device);
        let (features, lens) = padded(std::mem::take(&mut batch.prompts), &self.device);
        let pyramid = Pyramid::plain(&self.bsq);
        let count = batch.drop.len();
        let mut drop_path = None;
        let encoded = match noise(&mut batch) {
            Some(rng) => {
                drop_path = DropPath::draw(self.drop_path, self.transformer.depth, count, rng);
                self.correction.encode(&pyramid, latent, &bucket.cells, rng)
            }
            None => pyramid.encode(latent, &bucket.cells),
        };
        Prepared {
            bucket,
            forcing: TeacherForcing::new(&pyramid, &encoded, &bucket.cells, self.patching),
            text: TextCondition::new(features, lens),
            drop: batch.drop,
            drop_path,
        }
    }
}

impl Prepared<'_> {
    fn chain<'a>(&'a self, weights: &'a Tuning<Infinity>) -> InfinityChain<'a, Tuning<Infinity>> {
        InfinityChain {
            weights,
            batch: &self.forcing,
            text: &self.text,
            drop: &self.drop,
            plan: &self.bucket.plan,
            token_weights: &self.bucket.weights,
            drop_path: self.drop_path.clone(),
            right: OnceCell::new(),
        }
    }
}

impl Family for InfinityFamily {
    type Transformer = Infinity;

    const NO_DECAY: &'static [&'static str] = &[
        "cfg_uncond",
        "pos_start",
        "lvl_embed",
        "modulation",
        "log_scale",
        "text_pool.query",
    ];

    fn new(config: &FineTuneConfig, model: &Model, set: &Dataset, device: &Device) -> Result<Self> {
        let manifest = model.infinity()?;
        ensure!(
            !manifest.edits_by_instruction,
            "from: `{}` edits by instruction, which is trained with `kind: infinity` and `edits: true`",
            config.from
        );
        ensure!(
            set.frames() == 1,
            "data: `{}` holds clips, and `{}` generates images",
            config.data.display(),
            config.from
        );
        let weighting = config.weighting.unwrap_or(ScaleWeighting::Area);
        let sizes = set.sizes().iter().map(|&[width, height]| {
            let size = model.size(width, height);
            let size = size.map_err(|error| TrainError::setting("data", error))?;
            ensure!(
                size.known.is_none(),
                "data: `{}` was not trained at {width}x{height}, whose last scales it does not know; build the data set for another size",
                config.from
            );
            let flaw = |flaw: nextscale_models::error::Flaw| flaw.of(model.name());
            let schedule = size.schedule().map_err(flaw)?;
            let reference = size.reference().unwrap_or(schedule.last());
            let config_of = &manifest.transformer;
            let plan = Plan::teacher_forcing(config_of, &schedule, reference, device);
            Ok(Bucket {
                cells: manifest.patching.cells(&schedule),
                plan: plan.with_precision(config.precision),
                weights: weighting.weights(&schedule, device),
            })
        });
        Ok(Self {
            sizes: sizes.collect::<Result<_>>()?,
            transformer: manifest.transformer.clone(),
            patching: manifest.patching,
            bsq: Bsq::new(manifest.vae.bits),
            correction: config.correction(),
            drop_path: config.drop_path,
            device: device.clone(),
        })
    }

    fn load(model: &Model, placement: &Placement) -> Result<Infinity> {
        Ok(model.load_infinity(placement)?)
    }

    fn latent(&self, bucket: usize) -> [usize; 4] {
        use nextscale_tokenizer::Quantizer as _;
        let last = self.sizes[bucket].cells.last();
        [self.bsq.dim(), 1, last.h, last.w]
    }

    fn encoder(&self, model: &Model, placement: &Placement) -> Result<Encoder> {
        let vae = model.load_bsq_vae(placement)?;
        Ok(Box::new(move |pixels| vae.encode(image(pixels))))
    }

    fn gradients(
        &self,
        weights: &Tuning<Infinity>,
        model: &TunedModel<Infinity>,
        batch: TunedBatch,
        by_block: bool,
        ready: Ready<'_>,
    ) -> Measured<Loss> {
        let prepared = self.prepare(batch);
        let chain = prepared.chain(weights);
        let result = gradients(&chain, model, by_block, ready);
        let offsets = prepared.bucket.plan.schedule().offsets();
        Measured {
            right: shares(chain.right.get(), &offsets),
            result,
        }
    }

    fn measure(
        &self,
        weights: &Tuning<Infinity>,
        model: &TunedModel<Infinity>,
        batch: TunedBatch,
    ) -> Measured<f64> {
        let prepared = self.prepare(batch);
        let bits = prepared.chain(weights).loss(model);
        let offsets = prepared.bucket.plan.schedule().offsets();
        Measured {
            right: shares(Some(&bits.right), &offsets),
            result: number(bits.loss),
        }
    }

    fn fresh(model: &Model, device: &Device) -> Result<Infinity> {
        Ok(model.infinity()?.transformer.init(device))
    }

    fn save(model: &Model, transformer: &Infinity, path: &Path) -> Result<()> {
        let config = &model.infinity()?.transformer;
        Ok(save_infinity(config, transformer, path, WeightDtype::F32)?)
    }

    fn blocks_of(model: &Model) -> Result<(usize, usize)> {
        let config = &model.infinity()?.transformer;
        Ok((config.depth, config.block_chunks))
    }

    fn largest(&self) -> [usize; 3] {
        let sizes = self.sizes.iter();
        let tokens = sizes.map(|bucket| bucket.plan.schedule().tokens()).max();
        [
            self.transformer.heads,
            self.transformer.width,
            tokens.unwrap_or(0),
        ]
    }
}

/// Clips of one frame, `[b, 3, 1, h, w]`, as images.
pub(super) fn image(pixels: Tensor<5>) -> Tensor<4> {
    let [b, channels, _, h, w] = pixels.dims();
    pixels.reshape([b, channels, h, w])
}
