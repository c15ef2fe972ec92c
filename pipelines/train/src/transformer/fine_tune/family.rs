//! What the kinds of models do differently while they are fine-tuned.

use std::path::Path;

use burn::module::ModuleDisplay;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use nextscale_data::Dataset;
use nextscale_models::{Model, Placement};
use nextscale_var_core::blocks::Transformer;
use nextscale_var_core::train::{Activations, Chain, Loss, gradients_as_ready};
use rand_chacha::ChaCha8Rng;

use super::batches::TunedBatch;
use super::config::FineTuneConfig;
use super::tuned::{TunedModel, Tuning};
use crate::error::Result;

/// A kind of model.
pub(crate) trait Family: Sized + Send + Sync + 'static {
    /// Its transformer.
    type Transformer: Transformer + ModuleDisplay + Sync;

    /// Parts of the paths of parameters without weight decay.
    const NO_DECAY: &'static [&'static str];

    /// What the sizes of a data set need; refuses a data set that the model does not fit.
    fn new(config: &FineTuneConfig, model: &Model, set: &Dataset, device: &Device) -> Result<Self>;

    /// The weights of a model.
    fn load(model: &Model, placement: &Placement) -> Result<Self::Transformer>;

    /// Numbers of a latent of the size numbered `bucket`.
    fn latent(&self, bucket: usize) -> [usize; 4];

    /// What encodes pixels.
    fn encoder(&self, model: &Model, placement: &Placement) -> Result<Encoder>;

    /// The loss of a batch; its gradients go to `ready`, in parts if they are computed block by block.
    fn gradients(
        &self,
        weights: &Tuning<Self::Transformer>,
        model: &TunedModel<Self::Transformer>,
        batch: TunedBatch,
        by_block: bool,
        ready: Ready<'_>,
    ) -> Measured<Loss>;

    /// The loss of a batch without gradients.
    fn measure(
        &self,
        weights: &Tuning<Self::Transformer>,
        model: &TunedModel<Self::Transformer>,
        batch: TunedBatch,
    ) -> Measured<f64>;

    /// A transformer of the model's shape, whose weights are not initialised yet.
    fn fresh(model: &Model, device: &Device) -> Result<Self::Transformer>;

    /// Writes a transformer of the model's shape under its official names.
    fn save(model: &Model, transformer: &Self::Transformer, path: &Path) -> Result<()>;

    /// Blocks of the model's transformer, and the chunks in which its checkpoints name them.
    fn blocks_of(model: &Model) -> Result<(usize, usize)>;

    /// Heads of the attention, channels of a token, and tokens of the longest sequence of an example.
    fn largest(&self) -> [usize; 3];
}

/// Takes gradients.
pub(crate) type Ready<'a> = &'a mut dyn FnMut(GradientsParams);

/// Pixels, planes in [-1, 1] `[b, 3, frames, h, w]`, to latents `[b, c, t, h, w]`.
pub(crate) type Encoder = Box<dyn Fn(Tensor<5>) -> Tensor<5>>;

/// A result, and how well the codes were predicted.
pub(crate) struct Measured<T> {
    pub result: T,
    pub right: Right,
}

/// Shares of codes that were predicted rightly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Right {
    /// Of all tokens.
    pub all: f64,
    /// Of those of each scale, from the first.
    pub scales: Vec<f64>,
}

/// The gradients of a chain: block by block, or of all blocks at once.
pub(super) fn gradients<C: Chain>(
    chain: &C,
    model: &C::Model,
    by_block: bool,
    ready: Ready<'_>,
) -> Loss {
    if by_block {
        return gradients_as_ready(chain, model, ready);
    }
    let Activations { x, shared } = chain.forward(model, true);
    let (loss, gradients) = chain.end(model, x, &shared).gradients(model);
    ready(gradients);
    loss
}

/// The shares of right codes, of `[b, l]`.
pub(super) fn shares(right: Option<&Tensor<2>>, offsets: &[usize]) -> Right {
    let Some(right) = right else {
        return Right::default();
    };
    let right = if right.is_autodiff() {
        right.clone().inner()
    } else {
        right.clone()
    };
    let of_tokens: Vec<f32> = right.mean_dim(0).into_data().iter().collect();
    let mean = |tokens: &[f32]| {
        let sum: f64 = tokens.iter().map(|&x| f64::from(x)).sum();
        sum / tokens.len().max(1) as f64
    };
    let scales = offsets.windows(2);
    Right {
        all: mean(&of_tokens),
        scales: scales.map(|at| mean(&of_tokens[at[0]..at[1]])).collect(),
    }
}

/// The latents of a batch, `[b, c, t, h, w]`.
pub(super) fn latents(numbers: Vec<f32>, [c, t, h, w]: [usize; 4], device: &Device) -> Tensor<5> {
    let b = numbers.len() / (c * t * h * w);
    Tensor::from_data(TensorData::new(numbers, [b, c, t, h, w]), device)
}

/// The features of prompts, padded with zeros, `[b, l, channels]`, and their tokens.
pub(super) fn padded(prompts: Vec<(Vec<f32>, usize)>, device: &Device) -> (Tensor<3>, Vec<usize>) {
    let lens: Vec<usize> = prompts.iter().map(|(_, tokens)| *tokens).collect();
    let longest = lens.iter().copied().max().unwrap_or(1);
    let channels = prompts
        .first()
        .map_or(1, |(numbers, tokens)| numbers.len() / tokens);
    let b = lens.len();
    let mut all = Vec::with_capacity(b * longest * channels);
    for (i, (numbers, _)) in prompts.into_iter().enumerate() {
        all.extend(numbers);
        all.resize((i + 1) * longest * channels, 0.0);
    }
    let features = Tensor::from_data(TensorData::new(all, [b, longest, channels]), device);
    (features, lens)
}

/// The random numbers of a batch, if it is for training.
pub(super) fn noise(batch: &mut TunedBatch) -> Option<&mut ChaCha8Rng> {
    batch.training.then_some(&mut batch.rng)
}

/// One number.
pub(super) fn number(x: Tensor<1>) -> f64 {
    f64::from(x.into_scalar::<f32>())
}
