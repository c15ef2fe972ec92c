//! The patch discriminator: one logit for each patch of an image.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::leaky_relu;
use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::conv::convolve_padded;

use crate::tokenizer::adversarial::batch_norm::{BatchNorm, Statistics};
use crate::tokenizer::adversarial::config::AdversarialLoss;

/// Side of every kernel, and rows and columns of zeros on each side.
const KERNEL: usize = 4;
const PADDING: usize = 1;
/// Slope of the leaky ReLU below 0.
const SLOPE: f64 = 0.2;
/// Channels grow to at most so many times those of the first convolution.
const WIDEST: usize = 8;

/// The strides of all convolutions: the last two are 1.
fn strides(layers: usize) -> impl Iterator<Item = usize> {
    (0..layers + 2).map(move |i| if i < layers { 2 } else { 1 })
}

/// The sides of the output of each convolution for an image of `size` x `size` pixels; 0 where nothing is left.
pub(super) fn grids(size: usize, layers: usize) -> Vec<usize> {
    let after = |side: &mut usize, stride: usize| {
        let padded = *side + 2 * PADDING;
        let fits = *side > 0 && padded >= KERNEL;
        *side = if fits {
            (padded - KERNEL) / stride + 1
        } else {
            0
        };
        Some(*side)
    };
    strides(layers).scan(size, after).collect()
}

/// `NLayerDiscriminator` of taming-transformers (`taming/modules/discriminator/model.py`) and LlamaGen
/// (`tokenizer/tokenizer_image/discriminator_patchgan.py`): convolutions of 4 x 4 with leaky ReLU, batch norm after all but the first
/// and the last.
#[derive(Module, Debug)]
pub(crate) struct PatchDiscriminator {
    /// Colours to `channels`, stride 2.
    pub first: PatchConv,
    /// Stride 2, but the last one 1; each doubles the channels until there are 8 times as many.
    pub middle: Vec<NormedConv>,
    /// To one logit, stride 1.
    pub last: PatchConv,
}

/// A convolution with bias.
#[derive(Module, Debug)]
pub(crate) struct PatchConv {
    /// `[c', c, 4, 4]`.
    pub weight: Param<Tensor<4>>,
    /// `[c']`.
    pub bias: Param<Tensor<1>>,
}

/// A convolution without bias, and its norm.
#[derive(Module, Debug)]
pub(crate) struct NormedConv {
    /// `[c', c, 4, 4]`.
    pub weight: Param<Tensor<4>>,
    /// After the convolution.
    pub norm: BatchNorm,
}

/// What a pass returns.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// `[n, 1, h', w']`; positive for images, negative for reconstructions.
    pub logits: Tensor<4>,
    /// The statistics of each norm.
    pub statistics: Vec<Statistics>,
}

/// Weights at the start: normal, with a standard deviation of 0.02 (`weights_init`).
fn weight(to: usize, from: usize, device: &Device) -> Param<Tensor<4>> {
    let initializer = Initializer::Normal {
        mean: 0.0,
        std: 0.02,
    };
    initializer.init([to, from, KERNEL, KERNEL], device)
}

impl PatchConv {
    fn init(from: usize, to: usize, device: &Device) -> Self {
        // `weights_init` leaves the bias at PyTorch's default.
        let most = 1.0 / ((from * KERNEL * KERNEL) as f64).sqrt();
        let bias = Initializer::Uniform {
            min: -most,
            max: most,
        };
        Self {
            weight: weight(to, from, device),
            bias: bias.init([to], device),
        }
    }

    fn forward(&self, x: Tensor<4>, stride: usize) -> Tensor<4> {
        convolve_padded(x, self.weight.val(), self.bias.val(), stride, PADDING)
    }
}

impl NormedConv {
    fn forward(&self, x: Tensor<4>, stride: usize) -> (Tensor<4>, Statistics) {
        let [to, ..] = self.weight.dims();
        let none = Tensor::zeros([to], &x.device());
        let x = convolve_padded(x, self.weight.val(), none, stride, PADDING);
        self.norm.forward(x)
    }
}

impl PatchDiscriminator {
    /// A discriminator with random weights.
    pub(crate) fn init(config: &AdversarialLoss, device: &Device) -> Self {
        let width = |i: u32| config.channels * 2usize.saturating_pow(i).min(WIDEST);
        let middle = (1..=config.layers as u32).map(|i| NormedConv {
            weight: weight(width(i), width(i - 1), device),
            norm: BatchNorm::init(width(i), device),
        });
        Self {
            first: PatchConv::init(3, config.channels, device),
            middle: middle.collect(),
            last: PatchConv::init(width(config.layers as u32), 1, device),
        }
    }

    /// Judges images `[n, 3, h, w]` on an autodiff device, with the statistics of this batch.
    pub(crate) fn forward(&self, images: Tensor<4>) -> Judgement {
        let mut strides = strides(self.middle.len());
        let mut stride = || strides.next().unwrap_or(1);
        let mut x = leaky_relu(self.first.forward(images, stride()), SLOPE);
        let mut statistics = Vec::with_capacity(self.middle.len());
        for layer in &self.middle {
            let (normed, batch) = layer.forward(x, stride());
            statistics.push(batch);
            x = leaky_relu(normed, SLOPE);
        }
        Judgement {
            logits: self.last.forward(x, stride()),
            statistics,
        }
    }

    /// The discriminator after a pass with these statistics.
    #[must_use]
    pub(crate) fn updated(mut self, statistics: &[Statistics]) -> Self {
        let both = self.middle.into_iter().zip(statistics);
        self.middle = both
            .map(|(layer, batch)| NormedConv {
                norm: layer.norm.updated(batch),
                ..layer
            })
            .collect();
        self
    }
}
