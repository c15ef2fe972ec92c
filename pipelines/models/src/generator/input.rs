//! What a run of images starts from.

use burn::tensor::{Int, Tensor};
use nextscale_bitwise::generate::GenerateOptions as BitOptions;
use nextscale_bitwise::infinity::TextCondition;
use nextscale_tokenizer::{Codes, InpaintMask};
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::sampler::Sampler;
use nextscale_var_core::var::GenerateOptions as CodeOptions;

use crate::sampling::SamplingPlan;

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
    pub fn rows(&self) -> usize {
        match self {
            Self::Text { prompts, .. } => prompts.batch(),
            Self::Classes(classes) => classes.len(),
        }
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
    /// The latent of the image that is edited, `[1, c, 1, h, w]` before quantisation, for models that edit by instruction.
    pub source: Option<Tensor<5>>,
    /// Other seeds for the scales before this one: variations share their first scales.
    pub first_seeds: Option<(Vec<u64>, usize)>,
    /// The processes that generate the images together; this one alone by default.
    pub ranks: SampleRanks,
    /// Whether it is measured how selective the attention of each block is.
    pub measure_attention: bool,
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
            source: None,
            first_seeds: None,
            ranks: SampleRanks::default(),
            measure_attention: false,
        }
    }

    /// The sampler of the first scales, and the one that takes over from a scale on.
    pub(super) fn samplers(&self, temperature: f64) -> (Sampler, Option<(usize, Sampler)>) {
        let own = self.sampling.sampler(&self.seeds, temperature);
        match &self.first_seeds {
            None => (own, None),
            Some((seeds, at)) => (self.sampling.sampler(seeds, temperature), Some((*at, own))),
        }
    }

    /// Infinity's options; none if the forced codes are not bits.
    pub(super) fn bit_options(&self) -> Option<BitOptions> {
        let (plan, rows) = (&self.sampling, self.condition.rows());
        let forced = self.forced.iter().map(|codes| codes.clone().bits());
        let forced: Vec<Tensor<5, Int>> = forced.collect::<Option<_>>()?;
        let temperature = if plan.is_greedy() {
            vec![1.0; plan.temperatures.len()]
        } else {
            plan.temperatures.clone()
        };
        Some(BitOptions {
            guidance: plan.guidance(),
            temperature,
            forced: repeated(forced, rows),
            keep: self.keep.clone(),
        })
    }

    /// VAR's options; none if the forced codes are bits.
    pub(super) fn code_options(&self) -> Option<CodeOptions> {
        let forced = self.forced.iter().map(|codes| codes.clone().indices());
        let forced: Vec<Tensor<4, Int>> = forced.collect::<Option<_>>()?;
        Some(CodeOptions {
            guidance: self.sampling.guidance(),
            smooth: self.smooth,
            forced: repeated(forced, self.condition.rows()),
            keep: self.keep.clone(),
        })
    }
}

fn repeated<const D: usize>(codes: Vec<Tensor<D, Int>>, rows: usize) -> Vec<Tensor<D, Int>> {
    let codes = codes.into_iter();
    codes.map(|codes| codes.repeat_dim(0, rows)).collect()
}
