use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{
    GenerateInput as BitInput, Generation as BitGeneration, generate_on_ranks as generate_bits,
};
use nextscale_bitwise::infinity::{Infinity, Plan as InfinityPlan};
use nextscale_bitwise::tokens::Patching;
use nextscale_tokenizer::phi::Phi;
use nextscale_tokenizer::vq::Codebook;
use nextscale_tokenizer::{Codes, Quantizer, ScaleSchedule, VqCodes};
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::sampler::Sampler;
use nextscale_var_core::shortcuts::Shortcuts;
use nextscale_var_core::var::{
    GenerateInput as CodeInput, Generation as CodeGeneration, Plan as VarPlan, Var,
    generate_on_ranks as generate_codes,
};

use super::input::{Condition, ImageInput};
use super::ranks::Subject;
use super::request::{needs_source, takes_no_source};
use crate::device::Placement;
use crate::error::ModelError;
use crate::manifest::Manifest;
use crate::model::Model;
use crate::size::Size;

/// The transformer of a model of images: conditions to feature maps, scale by scale.
#[derive(Debug)]
pub struct ScaleGenerator {
    model: Arc<Model>,
    device: Device,
    transformer: Transformer,
    #[cfg(feature = "cuda")]
    graphs: nextscale_bitwise::infinity::Graphs,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each loaded model
enum Transformer {
    Infinity(Infinity, Bsq, Patching),
    Var(Var, VqCodes),
}

/// A size made ready for a transformer: positions, masks and scale indices, built once.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // few of them
pub enum ImagePlan {
    /// Of an Infinity model, with the schedule of its auto-encoder.
    Infinity(InfinityPlan, ScaleSchedule),
    /// Of a VAR model.
    Var(VarPlan),
}

impl ImagePlan {
    /// The transformer's schedule.
    pub fn schedule(&self) -> &ScaleSchedule {
        match self {
            Self::Infinity(plan, _) => plan.schedule(),
            Self::Var(plan) => plan.schedule(),
        }
    }

    /// The same plan with what a run leaves out.
    ///
    /// # Panics
    /// If the schedule has fewer scales.
    #[must_use]
    pub fn with_shortcuts(self, shortcuts: Shortcuts) -> Self {
        match self {
            Self::Infinity(plan, cells) => Self::Infinity(plan.with_shortcuts(shortcuts), cells),
            Self::Var(plan) => Self::Var(plan.with_shortcuts(shortcuts)),
        }
    }

    /// Whether all tokens of all scales are computed, and no image is edited.
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Infinity(plan, _) => plan.is_plain(),
            Self::Var(plan) => plan.is_plain(),
        }
    }

    /// Scales that are run.
    pub fn scales(&self) -> usize {
        match self {
            Self::Infinity(plan, _) => plan.shortcuts().scales(),
            Self::Var(plan) => plan.shortcuts().scales(),
        }
    }

    /// Whether it is of a model that edits an image by instruction.
    pub fn edits(&self) -> bool {
        match self {
            Self::Infinity(plan, _) => plan.source_rope().is_some(),
            Self::Var(_) => false,
        }
    }

    /// The auto-encoder's schedule.
    pub fn cells(&self) -> &ScaleSchedule {
        match self {
            Self::Infinity(_, cells) => cells,
            Self::Var(plan) => plan.schedule(),
        }
    }
}

impl ScaleGenerator {
    /// Loads the transformer of a model of images.
    ///
    /// # Errors
    /// A model of videos, a damaged file, and weights that are not those of the description.
    pub fn load(model: &Arc<Model>, placement: &Placement) -> Result<Self, ModelError> {
        let transformer = match model.manifest() {
            Manifest::Infinity(manifest) => Transformer::Infinity(
                model.load_infinity(placement)?,
                Bsq::new(manifest.vae.bits),
                manifest.patching,
            ),
            Manifest::Var(_) => Transformer::Var(
                model.load_var(placement)?,
                model.load_vq_codes(&placement.device)?,
            ),
            Manifest::InfinityStar(_) => return Err(model.is_not_of_images()),
        };
        Ok(Self {
            model: Arc::clone(model),
            device: placement.device.clone(),
            transformer,
            #[cfg(feature = "cuda")]
            graphs: nextscale_bitwise::infinity::Graphs::default(),
        })
    }

    /// Makes a size ready.
    ///
    /// # Errors
    /// A size without a schedule.
    pub fn plan(&self, size: &Size) -> Result<ImagePlan, ModelError> {
        let manifest = match self.model.manifest() {
            Manifest::Infinity(manifest) => manifest,
            _ => {
                let config = &self.model.var()?.transformer;
                return Ok(ImagePlan::Var(VarPlan::stepwise(config, &self.device)));
            }
        };
        let (config, patching) = (&manifest.transformer, manifest.patching);
        let schedule = size.schedule().map_err(|flaw| flaw.of(self.model.name()))?;
        let reference = size.reference().unwrap_or(schedule.last());
        let plan = match size.known {
            None if manifest.edits_by_instruction => {
                InfinityPlan::editing(config, &schedule, reference, &self.device)
            }
            None => InfinityPlan::stepwise(config, &schedule, reference, &self.device),
            Some(known) => {
                InfinityPlan::stretched(config, &schedule, reference, known, &self.device)
            }
        };
        let cells = patching.cells(&schedule);
        Ok(ImagePlan::Infinity(plan, cells))
    }

    /// Starts a run: an iterator over the feature maps `[b, d, 1, h, w]` of all scales that are run, of which the last is the
    /// latent to decode. Dropping it early stops the work.
    ///
    /// # Errors
    /// A condition, a plan or codes of another architecture; a source for a model that edits none, or none for one that does.
    ///
    /// # Panics
    /// If there is not one seed for each image, or not one weight and one temperature for each scale.
    pub fn steps(&self, plan: &ImagePlan, input: ImageInput) -> Result<Steps<'_>, ModelError> {
        match (plan.edits(), input.source.is_some()) {
            (true, false) => return Err(needs_source(&self.model)),
            (false, true) => return Err(takes_no_source(&self.model)),
            _ => {}
        }
        self.start(plan, &input).ok_or_else(|| {
            let message = "got a condition or codes of another architecture";
            ModelError::flawed(self.model.name(), message)
        })
    }

    /// Refuses processes that cannot generate the images of a plan together.
    ///
    /// # Errors
    /// Heads that they cannot share evenly; a card, shortcuts or an edit where they share tokens.
    pub fn check_ranks(&self, plan: &ImagePlan, ranks: &SampleRanks) -> Result<(), ModelError> {
        Subject {
            model: self.model.name(),
            heads: match &self.transformer {
                Transformer::Infinity(..) => self.model.infinity()?.transformer.heads,
                Transformer::Var(..) => self.model.var()?.transformer.heads,
            },
            device: &self.device,
            is_whole: plan.is_plain(),
        }
        .check(ranks)
    }

    /// The run; none if something is of another architecture.
    fn start(&self, plan: &ImagePlan, input: &ImageInput) -> Option<Steps<'_>> {
        let temperature = match &self.transformer {
            Transformer::Infinity(..) => 1.0, // the generator divides by that of each scale itself
            Transformer::Var(..) => *input.sampling.temperatures.first().unwrap_or(&1.0),
        };
        let (sampler, reseed) = input.samplers(temperature);
        let (measures, ranks) = (input.measure_attention, input.ranks.clone());
        let run = match (&self.transformer, plan, &input.condition) {
            (
                Transformer::Infinity(transformer, bsq, patching),
                ImagePlan::Infinity(plan, _),
                Condition::Text { prompts, negative },
            ) => {
                let source = input.source.clone();
                let input = BitInput {
                    quantizer: bsq as &dyn Quantizer,
                    plan,
                    patching: *patching,
                    text: prompts.clone(),
                    negative: negative.clone(),
                    options: input.bit_options()?,
                    sampler,
                };
                let run = generate_bits(transformer, input, ranks);
                let run = match source {
                    Some(source) => run.of_source(source),
                    None => run,
                };
                if measures {
                    Run::Infinity(Box::new(run.measuring()))
                } else {
                    #[cfg(feature = "cuda")]
                    let run = run.with_graphs(&self.graphs);
                    Run::Infinity(Box::new(run))
                }
            }
            (
                Transformer::Var(transformer, codes),
                ImagePlan::Var(plan),
                Condition::Classes(labels),
            ) => {
                let input = CodeInput {
                    pyramid: codes.pyramid(),
                    plan,
                    labels,
                    options: input.code_options()?,
                    sampler,
                };
                let run = generate_codes(transformer, input, ranks);
                Run::Var(Box::new(if measures { run.measuring() } else { run }))
            }
            _ => return None,
        };
        Some(Steps {
            run,
            position: 0,
            codes: None,
            reseed,
        })
    }

    /// An empty latent in the place of the image that is edited, to measure speed; none for models that edit none.
    pub fn blank_source(&self, plan: &ImagePlan) -> Option<Tensor<5>> {
        let (Transformer::Infinity(_, bsq, _), true) = (&self.transformer, plan.edits()) else {
            return None;
        };
        let grid = plan.cells().last();
        let shape = [1, bsq.dim(), grid.t, grid.h, grid.w];
        Some(Tensor::zeros(shape, &self.device))
    }

    /// The device of the transformer.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

/// A run of images: an iterator over the feature maps of all scales.
pub struct Steps<'a> {
    run: Run<'a>,
    position: usize,
    codes: Option<Codes>,
    /// The sampler that takes over, and the scale at which it does.
    reseed: Option<(usize, Sampler)>,
}

enum Run<'a> {
    Infinity(Box<BitGeneration<'a, dyn Quantizer + 'a>>),
    Var(Box<CodeGeneration<'a, Codebook, Phi>>),
}

impl Steps<'_> {
    /// Of each block and each scale so far but the first, the share of attention that stays if, of the earlier tokens, a tenth is kept. None if
    /// it is not measured.
    pub fn selectivity(&self) -> Option<&[Vec<f64>]> {
        match &self.run {
            Run::Infinity(all) => all.selectivity(),
            Run::Var(all) => all.selectivity(),
        }
    }

    /// The codes of the scale that came last; none before the first.
    pub fn codes(&self) -> Option<&Codes> {
        self.codes.as_ref()
    }
}

impl Iterator for Steps<'_> {
    /// The running feature map at full size, `[b, d, 1, h, w]`.
    type Item = Tensor<5>;

    fn next(&mut self) -> Option<Tensor<5>> {
        if let Some((_, sampler)) = self.reseed.take_if(|(at, _)| *at == self.position) {
            match &mut self.run {
                Run::Infinity(all) => all.set_sampler(sampler),
                Run::Var(all) => all.set_sampler(sampler),
            }
        }
        self.position += 1;
        let (codes, features) = match &mut self.run {
            Run::Infinity(all) => all.next().map(|scale| (scale.codes, scale.features)),
            Run::Var(all) => all.next().map(|scale| (scale.codes, scale.features)),
        }?;
        self.codes = Some(codes);
        Some(features)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.run {
            Run::Infinity(all) => all.size_hint(),
            Run::Var(all) => all.size_hint(),
        }
    }
}

impl ExactSizeIterator for Steps<'_> {}
