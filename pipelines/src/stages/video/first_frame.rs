//! The first frame of video models that do not paint it themselves.

use std::sync::Arc;

use image::RgbImage;
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, generate};
use nextscale_bitwise::infinity::{Infinity, Plan, TextCondition};
use nextscale_bitwise::vae::BsqVae;
use nextscale_text::TextEncoder;

use crate::artifact::Sample;
use crate::error::PipelineError;
use crate::media::resize::contain;
use crate::setup::Setup;
use crate::stage::Context;
use crate::stages::decode::to_image;
use nextscale_models::bundle::{Bundle, FirstFrame};

/// Paints first frames with a text-to-image model.
pub(super) struct Painter {
    rules: FirstFrame,
    bundle: Arc<Bundle>,
    loaded: Option<Loaded>,
}

struct Loaded {
    encoder: TextEncoder,
    model: Infinity,
    plan: Plan,
    vae: BsqVae,
}

impl Painter {
    /// Opens the model; no weight is loaded.
    pub(super) fn new(rules: &FirstFrame, setup: &Setup) -> Result<Self, PipelineError> {
        Ok(Self {
            bundle: setup.text_model(Some(&rules.model))?,
            rules: rules.clone(),
            loaded: None,
        })
    }

    pub(super) fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        let (bundle, device) = (&self.bundle, &context.device);
        let manifest = bundle.manifest();
        let size = &manifest.sizes[0];
        let schedule = size.schedule().map_err(|e| context.failed(e))?;
        let reference = size.reference().unwrap_or(schedule.last());
        let blocks = nextscale_models::device::blocks(context.settings.dtype);
        self.loaded = Some(Loaded {
            encoder: bundle.text_encoder(device)?,
            model: bundle.transformer(device, context.dtype, blocks)?,
            plan: Plan::stepwise(&manifest.transformer, &schedule, reference, device),
            vae: bundle.vae(device)?,
        });
        Ok(())
    }

    /// The first frame, `width` x `height` pixels, of the video of a sample.
    pub(super) fn paint(
        &self,
        sample: &Sample,
        size: [u32; 2],
        context: &Context,
    ) -> Result<RgbImage, PipelineError> {
        let Some(loaded) = &self.loaded else {
            return Err(context.failed("its model of pictures was not loaded"));
        };
        let manifest = self.bundle.manifest();
        let prompt = manifest.prompt.apply(&self.rules.prompt(&sample.prompt));
        let text = loaded.encoder.encode(&[&prompt]);
        let text = text.map_err(|e| context.failed(e))?;
        let text = TextCondition::new(text.features, text.lens);
        let scales = loaded.plan.schedule().len();
        let (sampler, options) = manifest.sampling.start(&[sample.seed], scales);
        let bsq = Bsq::new(manifest.vae.bits);
        let input = GenerateInput {
            quantizer: &bsq,
            plan: &loaded.plan,
            patching: manifest.patching,
            text,
            negative: None,
            options,
            sampler,
        };
        let all = generate(&loaded.model, input);
        let last = all
            .last()
            .ok_or_else(|| context.failed("its schedule has no scale"))?;
        let picture = to_image(loaded.vae.decode(last.features));
        let picture = picture.map_err(|e| context.failed(e))?;
        let FirstFrame {
            size: share,
            background,
            ..
        } = &self.rules;
        Ok(contain(&picture, size, *share, *background))
    }
}
