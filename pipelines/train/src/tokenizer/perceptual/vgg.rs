//! The convolutions of VGG16 (arXiv 1409.1556), frozen.

use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::conv::convolve;

/// Channels of each level; the sides are halved between two levels.
pub(super) const CHANNELS: [usize; 5] = [64, 128, 256, 512, 512];
/// Convolutions of each level.
pub(super) const DEPTHS: [usize; 5] = [2, 2, 3, 3, 3];
/// Pixels of the image along the side of a cell of the last level.
pub(super) const STRIDE: usize = 16;

/// A convolution 3 x 3 with padding 1, without autodiff.
#[derive(Debug)]
pub(super) struct Frozen {
    /// `[c', c, 3, 3]`.
    pub weight: Tensor<4>,
    /// `[c']`.
    pub bias: Tensor<1>,
}

/// The convolutions of VGG16 without classifier, without autodiff.
#[derive(Debug)]
pub(super) struct Vgg {
    /// By level.
    pub levels: Vec<Vec<Frozen>>,
}

impl Vgg {
    /// The features of images `[n, 3, h, w]`, normalised as LPIPS does: the last of each level, `[n, c, h / 2^i, w / 2^i]`, rounded
    /// down. Gradients flow to the images, if they are on an autodiff device.
    pub(super) fn features(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = images;
        let mut features: Vec<Tensor<4>> = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            if let Some(before) = features.last() {
                x = halved(before.clone());
            }
            for conv in level {
                let (weight, bias) = (beside(&x, &conv.weight), beside(&x, &conv.bias));
                x = relu(convolve(x, weight, bias));
            }
            features.push(x.clone());
        }
        features
    }

    /// Where the weights are, without autodiff.
    pub(super) fn device(&self) -> Device {
        self.levels[0][0].weight.device()
    }
}

/// The largest of each 2 x 2 cells; an odd row or column at the end is dropped.
fn halved(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([2; 2]))
}

/// A constant that may be computed with next to `x`, which may be on an autodiff device.
pub(super) fn beside<const D: usize, const E: usize>(
    x: &Tensor<D>,
    constant: &Tensor<E>,
) -> Tensor<E> {
    if x.is_autodiff() {
        Tensor::from_inner(constant.clone())
    } else {
        constant.clone()
    }
}
