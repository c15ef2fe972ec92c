//! Images of a model, generated with one setting or another.

use std::time::Instant;

use nextscale_models::generator::{Condition, ImageGenerator, ImageInput, ImagePlan};
use nextscale_models::memory::ImageRun;
use nextscale_models::sampling::SamplingPlan;
use nextscale_models::shortcuts::ImageShortcuts;
use nextscale_models::{ModelError, Size, pixels};
use nextscale_tokenizer::Codes;

use super::options::FastOptions;
use crate::conditions::conditions;
use crate::error::EvalError;

/// What is measured, loaded.
pub(super) struct Subject<'a> {
    generator: &'a ImageGenerator,
    options: &'a FastOptions,
    plan: ImagePlan,
    sampling: SamplingPlan,
    conditions: Vec<Condition>,
}

/// One image.
pub(super) struct Picture {
    pub pixels: Vec<u8>,
    /// The numbers of each scale.
    pub codes: Vec<Vec<i64>>,
    /// Without its text encoder.
    pub seconds: f64,
}

impl<'a> Subject<'a> {
    pub fn new(
        options: &'a FastOptions,
        generator: &'a ImageGenerator,
        size: &Size,
    ) -> Result<Self, EvalError> {
        let model = generator.model();
        let plan = generator.plan(size.width, size.height)?;
        let conditions = conditions(generator, &options.prompts)?;
        Ok(Self {
            sampling: generator.sampling_plan(model.sampling()?, &plan),
            generator,
            options,
            plan,
            conditions,
        })
    }

    fn sampling_of(&self, setting: &ImageShortcuts) -> SamplingPlan {
        let sampling = self.sampling.clone();
        sampling.guided_until(setting.guidance_until)
    }

    pub fn image_run(&self, setting: &ImageShortcuts) -> ImageRun {
        ImageRun {
            images: 1,
            guided: self.sampling_of(setting).guided_scales(setting.scales),
            shortcuts: setting.of_transformer(),
        }
    }

    pub fn picture(&self, index: usize, setting: &ImageShortcuts) -> Result<Picture, EvalError> {
        let seed = self.options.seed.wrapping_add(index as u64);
        let condition = self.conditions[index % self.conditions.len()].clone();
        let input = ImageInput::new(condition, vec![seed], self.sampling_of(setting));
        let plan = self.plan.clone();
        let plan = plan.with_shortcuts(setting.of_transformer());
        let start = Instant::now();
        let mut steps = self.generator.run(&plan, input)?;
        let (mut latent, mut codes) = (None, vec![]);
        while let Some(features) = steps.next() {
            codes.extend(steps.codes().cloned());
            latent = Some(features);
        }
        let latent = latent.ok_or_else(|| ModelError::refused("the schedule has no scale"))?;
        let pixels = self.generator.autoencoder().decode(latent, None);
        let pixels = pixels::to_bytes(pixels)?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Picture {
            pixels: pixels.concat(),
            codes: codes.into_iter().map(numbers).collect(),
            seconds,
        })
    }
}

fn numbers(codes: Codes) -> Vec<i64> {
    match codes {
        Codes::Indices(indices) => indices.into_data().iter().collect(),
        Codes::Bits(bits) => bits.into_data().iter().collect(),
    }
}
