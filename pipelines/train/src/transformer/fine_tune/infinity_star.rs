//! InfinityStar: prompts to images and videos, bit by bit.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_data::Dataset;
use nextscale_models::{Model, Placement};
use nextscale_var_core::guidance::replace_rows;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{Loss, ScaleWeighting, Trained as _};
use nextscale_video::infinity_star::save_infinity_star;
use nextscale_video::train::{InfinityStarChain, TeacherForcing, TeacherForcingPlan};
use nextscale_video::{InfinityStar, InfinityStarConfig, Plan};
use nextscale_weights::WeightDtype;
use rand_chacha::ChaCha8Rng;

use super::batches::TunedBatch;
use super::config::FineTuneConfig;
use super::family::{
    Encoder, Family, Measured, Ready, gradients, latents, noise, number, padded, shares,
};
use super::tuned::{TunedModel, Tuning};
use crate::error::{Result, TrainError, ensure};

/// Exponent of the released recipe: a token of a small pass counts more, with the fifth root of how much smaller it is.
const RELEASED: ScaleWeighting = ScaleWeighting::Root(4.0);

/// Sizes and settings of a fine-tune of InfinityStar.
pub(crate) struct StarFamily {
    transformer: InfinityStarConfig,
    precision: Precision,
    sizes: Vec<Bucket>,
    device: Device,
}

/// What one size needs.
struct Bucket {
    plan: Plan,
    forcing: TeacherForcingPlan,
    correction: SelfCorrection,
}

struct Prepared<'a> {
    bucket: &'a Bucket,
    forcing: TeacherForcing,
    text: Tensor<3>,
    lens: Vec<usize>,
    drop: Vec<bool>,
}

impl StarFamily {
    fn prepare(&self, mut batch: TunedBatch) -> Prepared<'_> {
        let bucket = &self.sizes[batch.bucket];
        let shape = self.latent(batch.bucket);
        let latent = latents(std::mem::take(&mut batch.latents), shape, &self.device);
        let (text, lens) = padded(std::mem::take(&mut batch.prompts), &self.device);
        let correction = bucket.correction;
        let noise: Option<(SelfCorrection, &mut ChaCha8Rng)> =
            noise(&mut batch).map(|rng| (correction, rng));
        Prepared {
            bucket,
            forcing: TeacherForcing::new(&bucket.plan, self.transformer.bits, latent, noise),
            text,
            lens,
            drop: batch.drop,
        }
    }

    fn chain<'a>(
        &self,
        prepared: &'a Prepared<'a>,
        weights: &'a Tuning<InfinityStar>,
        model: &TunedModel<InfinityStar>,
    ) -> InfinityStarChain<'a, Tuning<InfinityStar>> {
        let [_, l, _] = prepared.text.dims();
        let unconditional = weights.top(model).unconditional(l);
        let text = replace_rows(prepared.text.clone(), unconditional, &prepared.drop);
        InfinityStarChain::new(
            weights,
            model,
            &prepared.forcing,
            (text, &prepared.lens),
            &prepared.bucket.forcing,
            self.precision,
        )
    }
}

impl Family for StarFamily {
    type Transformer = InfinityStar;

    const NO_DECAY: &'static [&'static str] = &["cfg_uncond"];

    fn new(config: &FineTuneConfig, model: &Model, set: &Dataset, device: &Device) -> Result<Self> {
        let manifest = model.infinity_star()?;
        ensure!(
            manifest.semantic_scale.is_none(),
            "from: `{}` is interactive, and such models are not trained here",
            config.from
        );
        ensure!(
            config.drop_path == 0.0,
            "drop_path: InfinityStar is trained without"
        );
        let frames = set.frames();
        ensure!(
            manifest.length(None, Some(frames)).is_ok(),
            "data: `{}` has clips of {frames} frames, which `{}` does not make",
            config.data.display(),
            config.from
        );
        let rate = set.fps();
        ensure!(
            frames == 1 || rate == manifest.fps as f64,
            "data: `{}` has {rate} frames a second, and `{}` makes {}; build it with `fps: {}`",
            config.data.display(),
            config.from,
            manifest.fps,
            manifest.fps
        );
        let given = manifest.first_frame.is_some();
        ensure!(
            frames > 1 || !given,
            "data: `{}` holds images, and `{}` is given its first frame; build it with `kind: videos`",
            config.data.display(),
            config.from
        );
        let weighting = config.weighting.unwrap_or(RELEASED);
        let sizes = set.sizes().iter().map(|&[width, height]| {
            let size = model.size(width, height);
            let size = size.map_err(|error| TrainError::setting("data", error))?;
            let plan = manifest.plan(&size, frames);
            let plan = plan.map_err(|flaw| flaw.of(model.name()))?;
            Ok(Bucket {
                forcing: TeacherForcingPlan::new(&plan, !given, weighting, device),
                // The released scripts flip bits on all scales but the last of a clip.
                correction: config.correction.unwrap_or(SelfCorrection {
                    scales: size.scales.len().saturating_sub(1),
                    ..SelfCorrection::default()
                }),
                plan,
            })
        });
        Ok(Self {
            sizes: sizes.collect::<Result<_>>()?,
            transformer: manifest.transformer.clone(),
            precision: config.precision,
            device: device.clone(),
        })
    }

    fn load(model: &Model, placement: &Placement) -> Result<InfinityStar> {
        Ok(model.load_infinity_star(placement)?)
    }

    fn latent(&self, bucket: usize) -> [usize; 4] {
        let plan = &self.sizes[bucket].plan;
        let last = plan.reference();
        [self.transformer.bits.detail, plan.frames(), last.h, last.w]
    }

    fn encoder(&self, model: &Model, placement: &Placement) -> Result<Encoder> {
        let vae = model.load_infinity_star_vae(placement)?;
        Ok(Box::new(move |pixels| {
            vae.latent(vae.encode(pixels).mode())
        }))
    }

    fn gradients(
        &self,
        weights: &Tuning<InfinityStar>,
        model: &TunedModel<InfinityStar>,
        batch: TunedBatch,
        by_block: bool,
        ready: Ready<'_>,
    ) -> Measured<Loss> {
        let prepared = self.prepare(batch);
        let chain = self.chain(&prepared, weights, model);
        let result = gradients(&chain, model, by_block, ready);
        let offsets = prepared.bucket.forcing.offsets();
        Measured {
            right: shares(chain.right.get(), &offsets),
            result,
        }
    }

    fn measure(
        &self,
        weights: &Tuning<InfinityStar>,
        model: &TunedModel<InfinityStar>,
        batch: TunedBatch,
    ) -> Measured<f64> {
        let prepared = self.prepare(batch);
        let bits = self.chain(&prepared, weights, model).loss(model);
        let offsets = prepared.bucket.forcing.offsets();
        Measured {
            right: shares(Some(&bits.right), &offsets),
            result: number(bits.loss),
        }
    }

    fn fresh(model: &Model, device: &Device) -> Result<InfinityStar> {
        Ok(model.infinity_star()?.transformer.init(device))
    }

    fn save(model: &Model, transformer: &InfinityStar, path: &Path) -> Result<()> {
        let config = &model.infinity_star()?.transformer;
        Ok(save_infinity_star(
            config,
            transformer,
            path,
            WeightDtype::F32,
        )?)
    }

    fn blocks_of(model: &Model) -> Result<(usize, usize)> {
        let config = &model.infinity_star()?.transformer;
        Ok((config.depth, config.block_chunks))
    }

    fn largest(&self) -> [usize; 3] {
        let sizes = self.sizes.iter();
        let tokens = sizes.filter_map(|bucket| bucket.forcing.offsets().last().copied());
        let text = self.transformer.text_max_len.min(128);
        [
            self.transformer.heads,
            self.transformer.width,
            tokens.max().unwrap_or(0) + text,
        ]
    }
}
