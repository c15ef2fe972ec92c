//! The convolutions of VGG16 (arXiv 1409.1556) and of AlexNet (arXiv 1404.5997), frozen.

use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::conv::convolve;

/// Which network the features come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// VGG16, which training uses.
    Vgg,
    /// AlexNet, which papers report.
    Alex,
}

/// The shape of a convolution: channels, side of the kernel, stride and padding.
pub(super) struct Shape {
    pub channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    /// Its number in torchvision's list, which also counts the activations and poolings.
    pub at: usize,
}

impl Network {
    /// Channels of the features of each level.
    pub(super) fn channels(self) -> [usize; 5] {
        match self {
            Network::Vgg => [64, 128, 256, 512, 512],
            Network::Alex => [64, 192, 384, 256, 256],
        }
    }

    /// The convolutions of each level.
    pub(super) fn shapes(self) -> Vec<Vec<Shape>> {
        let shape = |channels, kernel, stride, at| Shape {
            channels,
            kernel,
            stride,
            padding: kernel / 2,
            at,
        };
        match self {
            Network::Vgg => {
                let places: [&[usize]; 5] = [
                    &[0, 2],
                    &[5, 7],
                    &[10, 12, 14],
                    &[17, 19, 21],
                    &[24, 26, 28],
                ];
                let levels = self.channels().into_iter().zip(places);
                let level = |(channels, places): (usize, &[usize])| {
                    let one = |&at: &usize| shape(channels, 3, 1, at);
                    places.iter().map(one).collect()
                };
                levels.map(level).collect()
            }
            Network::Alex => vec![
                vec![Shape {
                    padding: 2,
                    ..shape(64, 11, 4, 0)
                }],
                vec![shape(192, 5, 1, 3)],
                vec![shape(384, 3, 1, 6)],
                vec![shape(256, 3, 1, 8)],
                vec![shape(256, 3, 1, 10)],
            ],
        }
    }

    /// The smallest side of an image in pixels.
    pub fn smallest(self) -> usize {
        match self {
            Network::Vgg => 16,
            Network::Alex => 31,
        }
    }

    /// The name of the network.
    pub fn name(self) -> &'static str {
        match self {
            Network::Vgg => "VGG16",
            Network::Alex => "AlexNet",
        }
    }

    /// The features of a level as the next one takes them.
    fn pooled(self, before: usize, x: Tensor<4>) -> Tensor<4> {
        match (self, before) {
            // An odd row or column at the end is dropped.
            (Network::Vgg, _) => max_pool2d(x, MaxPoolOptions::new([2; 2])),
            (Network::Alex, 0 | 1) => {
                max_pool2d(x, MaxPoolOptions::new([3; 2]).with_stride([2; 2]))
            }
            (Network::Alex, _) => x,
        }
    }
}

/// A convolution without autodiff.
#[derive(Debug)]
pub(super) struct Frozen {
    /// `[c', c, k, k]`.
    pub weight: Tensor<4>,
    /// `[c']`.
    pub bias: Tensor<1>,
    pub stride: usize,
    pub padding: usize,
}

impl Frozen {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (beside(&x, &self.weight), beside(&x, &self.bias));
        let [_, _, kernel, _] = weight.dims();
        if self.stride == 1 && self.padding == kernel / 2 {
            return convolve(x, weight, bias);
        }
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        let options = ConvOptions::new(stride, padding, [1; 2], 1);
        conv2d(x, weight, Some(bias), options)
    }
}

/// The convolutions without classifier, without autodiff.
#[derive(Debug)]
pub(super) struct Backbone {
    pub network: Network,
    /// By level.
    pub levels: Vec<Vec<Frozen>>,
}

impl Backbone {
    /// The features of images `[n, 3, h, w]`, normalised as LPIPS does: the last of each level, `[n, c, h', w']`. Gradients flow to the
    /// images, if they are on an autodiff device.
    pub(super) fn features(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = images;
        let mut features: Vec<Tensor<4>> = Vec::with_capacity(self.levels.len());
        for (index, level) in self.levels.iter().enumerate() {
            if let Some(before) = features.last() {
                x = self.network.pooled(index - 1, before.clone());
            }
            for conv in level {
                x = relu(conv.forward(x));
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
