use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Int, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{
    GenerateInput as BitInput, GenerateOptions as BitOptions, Generation as BitGeneration,
    generate as generate_bits,
};
use nextscale_bitwise::infinity::{Infinity, Plan as InfinityPlan, TextCondition};
use nextscale_bitwise::tokens::Patching;
use nextscale_tokenizer::phi::Phi;
use nextscale_tokenizer::vq::Codebook;
use nextscale_tokenizer::{Codes, InpaintMask, Quantizer, ScaleSchedule, VqCodes};
use nextscale_var_core::guidance::{Guidance, GuidancePoint};
use nextscale_var_core::sampler::Sampler;
use nextscale_var_core::var::{
    GenerateInput as CodeInput, GenerateOptions as CodeOptions, Generation as CodeGeneration,
    generate as generate_codes,
};
use nextscale_var_core::var::{Plan as VarPlan, Var};

use crate::device::Placement;
use crate::error::ModelError;
use crate::manifest::Manifest;
use crate::model::Model;
use crate::sampling::SamplingPlan;
use crate::size::Size;

/// The transformer of a model of images: conditions to feature maps, scale by scale.
#[derive(Debug)]
pub struct ScaleGenerator {
    model: Arc<Model>,
    placement: Placement,
    transformer: Transformer,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each loaded model
enum Transformer {
    Infinity {
        transformer: Infinity,
        bsq: Bsq,
        patching: Patching,
    },
    Var {
        transformer: Var,
        codes: VqCodes,
    },
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

    /// The auto-encoder's schedule.
    pub fn cells(&self) -> &ScaleSchedule {
        match self {
            Self::Infinity(_, cells) => cells,
            Self::Var(plan) => plan.schedule(),
        }
    }
}

/// What images are generated from, one row for each image.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one for each batch
pub enum Condition {
    /// Text features, and those of negative prompts, as many or none.
    Text {
        /// The prompts.
        prompts: TextCondition,
        /// What to steer away from; the model's unconditional prompt if absent.
        negative: Option<TextCondition>,
    },
    /// Classes.
    Classes(Vec<usize>),
}

impl Condition {
    /// Prompts of any lengths, `[1, l, c]` each, as one batch; none without a prompt. Negative prompts count if there are as
    /// many.
    pub fn of_prompts<'a>(
        prompts: impl Iterator<Item = &'a Tensor<3>>,
        negative: impl Iterator<Item = &'a Tensor<3>>,
    ) -> Option<Self> {
        let prompts = batch(prompts)?;
        let negative = batch(negative).filter(|negative| negative.batch() == prompts.batch());
        Some(Self::Text { prompts, negative })
    }

    /// How many images.
    pub fn len(&self) -> usize {
        match self {
            Self::Text { prompts, .. } => prompts.batch(),
            Self::Classes(classes) => classes.len(),
        }
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn batch<'a>(prompts: impl Iterator<Item = &'a Tensor<3>>) -> Option<TextCondition> {
    let one = |features: &Tensor<3>| {
        let [_, l, _] = features.dims();
        TextCondition::new(features.clone(), vec![l])
    };
    prompts.map(one).reduce(|all, next| all.concat(&next))
}

/// What a run of images needs besides the plan of its size.
#[derive(Debug, Clone)]
pub struct ImageInput {
    /// What to generate.
    pub condition: Condition,
    /// One seed for each image.
    pub seeds: Vec<u64>,
    /// How codes are drawn.
    pub sampling: SamplingPlan,
    /// VAR: blend all codes instead of drawing one.
    pub smooth: bool,
    /// Codes of the first scales, of one image, that are taken instead of drawing.
    pub forced: Vec<Codes>,
    /// An image of which a part stays.
    pub keep: Option<InpaintMask>,
    /// Other seeds for the scales before this one: variations share their first scales.
    pub first_seeds: Option<(Vec<u64>, usize)>,
}

impl ImageInput {
    /// A plain run.
    pub fn new(condition: Condition, seeds: Vec<u64>, sampling: SamplingPlan) -> Self {
        Self {
            condition,
            seeds,
            sampling,
            smooth: false,
            forced: vec![],
            keep: None,
            first_seeds: None,
        }
    }

    /// The sampler of the first scales, and the one that takes over from a scale on.
    fn samplers(&self, temperature: f64) -> (Sampler, Option<(usize, Sampler)>) {
        let own = self.sampling.sampler(&self.seeds, temperature);
        match &self.first_seeds {
            None => (own, None),
            Some((seeds, at)) => (self.sampling.sampler(seeds, temperature), Some((*at, own))),
        }
    }

    /// Infinity's options; none if the forced codes are not bits.
    fn bit_options(&self) -> Option<BitOptions> {
        let (plan, rows) = (&self.sampling, self.condition.len());
        let forced = self.forced.iter().map(|codes| codes.clone().bits());
        let forced: Vec<Tensor<5, Int>> = forced.collect::<Option<_>>()?;
        let point = match plan.guidance_layer {
            0 => GuidancePoint::Logits,
            layer => GuidancePoint::FromEnd(layer.unsigned_abs() as usize),
        };
        let temperature = if plan.is_greedy() {
            vec![1.0; plan.temperatures.len()]
        } else {
            plan.temperatures.clone()
        };
        Some(BitOptions {
            guidance: Guidance {
                weights: plan.guidance.clone(),
                points: vec![point],
            },
            temperature,
            forced: repeated(forced, rows),
            keep: self.keep.clone(),
        })
    }

    /// VAR's options; none if the forced codes are bits.
    fn code_options(&self) -> Option<CodeOptions> {
        let forced = self.forced.iter().map(|codes| codes.clone().indices());
        let forced: Vec<Tensor<4, Int>> = forced.collect::<Option<_>>()?;
        Some(CodeOptions {
            guidance: Guidance {
                weights: self.sampling.guidance.clone(),
                points: vec![GuidancePoint::Logits],
            },
            smooth: self.smooth,
            forced: repeated(forced, self.condition.len()),
            keep: self.keep.clone(),
        })
    }
}

fn repeated<const D: usize>(codes: Vec<Tensor<D, Int>>, rows: usize) -> Vec<Tensor<D, Int>> {
    let codes = codes.into_iter();
    codes.map(|codes| codes.repeat_dim(0, rows)).collect()
}

impl ScaleGenerator {
    /// Loads the transformer of a model of images.
    ///
    /// # Errors
    /// A model of videos, a damaged file, and weights that are not those of the description.
    pub fn load(model: &Arc<Model>, placement: &Placement) -> Result<Self, ModelError> {
        let transformer = match model.manifest() {
            Manifest::Infinity(manifest) => Transformer::Infinity {
                transformer: model.load_infinity(placement)?,
                bsq: Bsq::new(manifest.vae.bits),
                patching: manifest.patching,
            },
            Manifest::Var(_) => Transformer::Var {
                transformer: model.load_var(placement)?,
                codes: model.load_vq_codes(&placement.device)?,
            },
            Manifest::InfinityStar(_) => return Err(model.is_not_of_images()),
        };
        Ok(Self::new(model, placement, transformer))
    }

    /// One with random weights.
    pub(super) fn random(model: &Arc<Model>, placement: &Placement) -> Result<Self, ModelError> {
        let (device, dtype) = (&placement.device, placement.dtype);
        let transformer = match model.manifest() {
            Manifest::Infinity(manifest) => Transformer::Infinity {
                transformer: cast(manifest.transformer.init(device), dtype),
                bsq: Bsq::new(manifest.vae.bits),
                patching: manifest.patching,
            },
            Manifest::Var(manifest) => Transformer::Var {
                transformer: cast(manifest.transformer.init(device), dtype),
                codes: manifest.vae.init_codes(device),
            },
            Manifest::InfinityStar(_) => return Err(model.is_not_of_images()),
        };
        Ok(Self::new(model, placement, transformer))
    }

    fn new(model: &Arc<Model>, placement: &Placement, transformer: Transformer) -> Self {
        Self {
            model: Arc::clone(model),
            placement: placement.clone(),
            transformer,
        }
    }

    /// Makes a size ready.
    ///
    /// # Errors
    /// A size without a schedule.
    pub fn plan(&self, size: &Size) -> Result<ImagePlan, ModelError> {
        let device = &self.placement.device;
        let (config, patching) = match self.model.manifest() {
            Manifest::Infinity(manifest) => (&manifest.transformer, manifest.patching),
            _ => {
                let config = &self.model.var()?.transformer;
                return Ok(ImagePlan::Var(VarPlan::stepwise(config, device)));
            }
        };
        let schedule = size.schedule().map_err(|flaw| flaw.of(self.model.name()))?;
        let reference = size.reference().unwrap_or(schedule.last());
        let plan = match size.known {
            None => InfinityPlan::stepwise(config, &schedule, reference, device),
            Some(known) => InfinityPlan::stretched(config, &schedule, reference, known, device),
        };
        let cells = patching.cells(&schedule);
        Ok(ImagePlan::Infinity(plan, cells))
    }

    /// Starts a run: an iterator over the feature maps `[b, d, 1, h, w]` of all scales, of which the last is the latent to
    /// decode. Dropping it early stops the work.
    ///
    /// # Errors
    /// A condition, a plan or codes of another architecture.
    ///
    /// # Panics
    /// If there is not one seed for each image, or not one weight and one temperature for each scale.
    pub fn steps(&self, plan: &ImagePlan, input: ImageInput) -> Result<Steps<'_>, ModelError> {
        match (&self.transformer, plan, &input.condition) {
            (
                Transformer::Infinity {
                    transformer,
                    bsq,
                    patching,
                },
                ImagePlan::Infinity(plan, _),
                Condition::Text { prompts, negative },
            ) => {
                let (first, reseed) = input.samplers(1.0);
                let input = BitInput {
                    quantizer: bsq as &dyn Quantizer,
                    plan,
                    patching: *patching,
                    text: prompts.clone(),
                    negative: negative.clone(),
                    options: input.bit_options().ok_or_else(|| self.mismatch())?,
                    sampler: first,
                };
                let all = generate_bits(transformer, input);
                Ok(Steps::new(Run::Infinity(Box::new(all)), reseed))
            }
            (
                Transformer::Var { transformer, codes },
                ImagePlan::Var(plan),
                Condition::Classes(classes),
            ) => {
                let temperature = input.sampling.temperatures.first().copied();
                let (first, reseed) = input.samplers(temperature.unwrap_or(1.0));
                let options = input.code_options().ok_or_else(|| self.mismatch())?;
                let pyramid = codes.pyramid();
                let all = generate_codes(
                    transformer,
                    CodeInput {
                        pyramid,
                        plan,
                        labels: classes,
                        options,
                        sampler: first,
                    },
                );
                Ok(Steps::new(Run::Var(Box::new(all)), reseed))
            }
            _ => Err(self.mismatch()),
        }
    }

    fn mismatch(&self) -> ModelError {
        let message = "got a condition or codes of another architecture";
        ModelError::flawed(self.model.name(), message)
    }

    /// The device of the transformer.
    pub fn device(&self) -> &Device {
        &self.placement.device
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

/// All parameters of a module in another number type.
fn cast<M: Module>(module: M, dtype: FloatDType) -> M {
    struct Cast(FloatDType);
    impl ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.cast(self.0))
        }
    }
    module.map(&mut Cast(dtype))
}

/// A run of images: an iterator over the feature maps of all scales.
pub struct Steps<'a> {
    run: Run<'a>,
    position: usize,
    /// The sampler that takes over, and the scale at which it does.
    reseed: Option<(usize, Sampler)>,
}

enum Run<'a> {
    Infinity(Box<BitGeneration<'a, dyn Quantizer + 'a>>),
    Var(Box<CodeGeneration<'a, Codebook, Phi>>),
}

impl<'a> Steps<'a> {
    fn new(run: Run<'a>, reseed: Option<(usize, Sampler)>) -> Self {
        let position = 0;
        Self {
            run,
            position,
            reseed,
        }
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
        match &mut self.run {
            Run::Infinity(all) => all.next().map(|scale| scale.features),
            Run::Var(all) => all.next().map(|scale| scale.features),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.run {
            Run::Infinity(all) => all.size_hint(),
            Run::Var(all) => all.size_hint(),
        }
    }
}

impl ExactSizeIterator for Steps<'_> {}
