//! The distance, as the package `lpips` computes it (`lpips/lpips.py`, `LPIPS.forward`) without dropout.

use burn::tensor::{Device, Tensor};

use crate::error::Result;
use crate::tokenizer::perceptual::config::PerceptualLoss;
use crate::tokenizer::perceptual::vgg::{Vgg, beside};
use crate::tokenizer::perceptual::weights;

/// Means and standard deviations of red, green and blue in [-1, 1] (`ScalingLayer`).
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// Added to the length of the features of a position.
const EPSILON: f64 = 1e-10;
/// Added under its root, whose gradient at 0 would be infinite. Nothing else changes: it is far below the precision of f32.
const UNDER_ROOT: f64 = 1e-20;

/// LPIPS with VGG16, frozen.
#[derive(Debug)]
pub(crate) struct Lpips {
    vgg: Vgg,
    /// Weights of the channels of each level, `[c]`.
    lins: Vec<Tensor<1>>,
}

impl Lpips {
    /// Reads the weights to `device`, which is without autodiff.
    ///
    /// # Errors
    /// If a file cannot be read, or holds other tensors.
    pub(crate) fn open(config: &PerceptualLoss, device: &Device) -> Result<Self> {
        let (vgg, lins) = weights::read(&config.vgg, config.lins.as_deref(), device)?;
        Ok(Self { vgg, lins })
    }

    /// The distance of each image, `[n]`. The gradient flows to `images`.
    ///
    /// # Shapes
    /// Both are `[n, 3, h, w]` with colours in -1..=1 and sides of at least 16 pixels.
    pub(crate) fn distance(&self, images: Tensor<4>, target: Tensor<4>) -> Tensor<1> {
        let layers = self.layers(images, target).into_iter();
        layers
            .reduce(|sum, layer| sum + layer)
            .expect("VGG16 has levels")
    }

    /// The distance of each image on each level, `[n]` each; their sum is [`distance`](Self::distance).
    fn layers(&self, images: Tensor<4>, target: Tensor<4>) -> Vec<Tensor<1>> {
        let target = if target.is_autodiff() {
            target.inner()
        } else {
            target
        };
        let target = self.features(target).into_iter().map(directions);
        let features = self.features(images).into_iter().map(directions);
        let levels = features.zip(target).zip(&self.lins);
        levels.map(|((x, y), lin)| distance(x, y, lin)).collect()
    }

    /// The features of each level before they are normalised.
    fn features(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let colours = |values: [f32; 3]| {
            let values = Tensor::<1>::from_floats(values, &self.vgg.device());
            beside(&images, &values).reshape([1, 3, 1, 1])
        };
        let (shift, scale) = (colours(SHIFT), colours(SCALE));
        self.vgg.features((images - shift) / scale)
    }
}

/// The features `[n, c, h, w]` of each position as a vector of length 1; 0 where they are all 0.
fn directions(x: Tensor<4>) -> Tensor<4> {
    let length = (x.clone().square().sum_dim(1) + UNDER_ROOT).sqrt();
    x / (length + EPSILON)
}

/// The mean over all positions of the squared differences of directions, weighted by `lin`, `[n]`.
fn distance(x: Tensor<4>, y: Tensor<4>, lin: &Tensor<1>) -> Tensor<1> {
    let [n, c, h, w] = x.dims();
    let weights = beside(&x, lin).reshape([1, c, 1, 1]);
    let y = beside(&x, &y);
    let difference = (x - y).square() * weights;
    let positions = difference.sum_dim(1).reshape([n, h * w]);
    positions.mean_dim(1).reshape([n])
}

#[cfg(test)]
impl Lpips {
    /// [`layers`](Self::layers) for the tests.
    pub(super) fn each_layer(&self, images: Tensor<4>, target: Tensor<4>) -> Vec<Tensor<1>> {
        self.layers(images, target)
    }

    /// [`features`](Self::features) for the tests.
    pub(super) fn each_feature(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        self.features(images)
    }
}
