//! The model that is measured, and one timed round of it.

use burn::tensor::{Distribution, Tensor};
use nextscale_bitwise::infinity::TextCondition;
use nextscale_models::generator::{Condition, ImageGenerator, ImageInput, ImagePlan};
use nextscale_models::sampling::SamplingPlan;
use nextscale_models::{ModelError, pixels};

use super::clock::Clock;
use crate::error::EvalError;

/// Tokens of the made-up prompt of a model with random weights.
pub(super) const PROMPT_TOKENS: usize = 12;

/// What images are generated from.
pub(super) enum Prompt {
    /// A prompt.
    Text(String),
    /// Random features with this number of channels, in the place of a text encoder's.
    RandomText(usize),
    /// A class.
    Class(usize),
}

/// A loaded model and what it generates.
pub(super) struct Subject<'a> {
    pub generator: &'a ImageGenerator,
    pub plan: &'a ImagePlan,
    pub sampling: SamplingPlan,
    pub prompt: Prompt,
    pub batch: usize,
}

/// The times of one round, in seconds.
pub(super) struct Round {
    pub text: f64,
    pub scales: Vec<f64>,
    pub decode: f64,
    pub total: f64,
    /// The most bytes of a card's memory.
    pub card: Option<u64>,
}

impl Subject<'_> {
    /// The times of `count` rounds after `warmup` that are not counted, and the most bytes of a card's memory in all of
    /// them.
    pub fn rounds(
        &self,
        warmup: usize,
        count: usize,
    ) -> Result<(Vec<Round>, Option<u64>), EvalError> {
        let rounds = (0..warmup + count).map(|index| self.round(index as u64));
        let mut rounds = rounds.collect::<Result<Vec<_>, _>>()?;
        let card = rounds.iter().filter_map(|round| round.card).max();
        Ok((rounds.split_off(warmup), card))
    }

    /// Generates one batch.
    fn round(&self, seed: u64) -> Result<Round, EvalError> {
        let mut clock = Clock::start(self.generator.device());
        let seeds = (0..self.batch as u64).map(|i| seed + i).collect();
        let condition = self.condition()?;
        let text = clock.lap()?;
        let input = ImageInput {
            source: self.generator.blank_source(self.plan),
            ..ImageInput::new(condition, seeds, self.sampling.clone())
        };
        let (mut scales, mut latent) = (Vec::new(), None);
        for features in self.generator.run(self.plan, input)? {
            scales.push(clock.lap()?);
            latent = Some(features);
        }
        let latent = latent.ok_or_else(|| ModelError::refused("the schedule has no scale"))?;
        pixels::to_bytes(self.generator.autoencoder().decode(latent, None))?;
        let decode = clock.lap()?;
        Ok(Round {
            text,
            scales,
            decode,
            total: clock.elapsed,
            card: clock.card,
        })
    }

    fn condition(&self) -> Result<Condition, EvalError> {
        let batch = self.batch;
        Ok(match &self.prompt {
            Prompt::Text(prompt) => self.generator.encode(&vec![prompt; batch], "")?,
            Prompt::RandomText(channels) => {
                let shape = [batch, PROMPT_TOKENS, *channels];
                let features = Tensor::random(
                    shape,
                    Distribution::Normal(0.0, 0.2),
                    self.generator.device(),
                );
                Condition::Text {
                    prompts: TextCondition::new(features, vec![PROMPT_TOKENS; batch]),
                    negative: None,
                }
            }
            Prompt::Class(class) => Condition::Classes(vec![*class; batch]),
        })
    }
}
