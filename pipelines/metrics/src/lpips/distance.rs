//! The distance, as the package `lpips` computes it (`lpips/lpips.py`, `LPIPS.forward`) without dropout.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use crate::error::{MetricsError, Result};
use crate::features::Rows;
use crate::lpips::network::{Backbone, Network, beside};
use crate::lpips::weights;

/// Means and standard deviations of red, green and blue in [-1, 1] (`ScalingLayer`).
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// Added to the length of the features of a position.
const EPSILON: f64 = 1e-10;
/// Added under its root, whose gradient at 0 would be infinite. Nothing else changes: it is far below the precision of f32.
const UNDER_ROOT: f64 = 1e-20;

/// LPIPS with VGG16 or AlexNet, frozen.
#[derive(Debug)]
pub struct Lpips {
    backbone: Backbone,
    /// Weights of the channels of each level, `[c]`.
    lins: Vec<Tensor<1>>,
}

impl Lpips {
    /// Reads the weights to `device`, which is without autodiff: the network from `vgg`, which may be AlexNet as well, and the weights of
    /// its channels from `lins`, or from `vgg` if there is none.
    ///
    /// # Errors
    /// If a file cannot be read, or holds other tensors. Its part is `vgg` or `lins`.
    pub fn open(vgg: &Path, lins: Option<&Path>, device: &Device) -> Result<Self> {
        let (backbone, lins) = weights::read(vgg, lins, device)?;
        Ok(Self { backbone, lins })
    }

    /// Which network the features come from.
    pub fn network(&self) -> Network {
        self.backbone.network
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.backbone.device()
    }

    /// The distance of each image, `[n]`. The gradient flows to `images`.
    ///
    /// # Shapes
    /// Both are `[n, 3, h, w]` with colours in -1..=1 and sides of at least [`Network::smallest`] pixels.
    pub fn distance(&self, images: Tensor<4>, target: Tensor<4>) -> Tensor<1> {
        let layers = self.layers(images, target).into_iter();
        layers
            .reduce(|sum, layer| sum + layer)
            .expect("a network has levels")
    }

    /// The distance of each pair of 8-bit images, all of one size.
    ///
    /// # Errors
    /// If an image has another size or is too small, or the device fails.
    pub fn of_images(&self, images: &[RgbImage], target: &[RgbImage]) -> Result<Vec<f64>> {
        let Some((width, height)) = images.first().map(RgbImage::dimensions) else {
            return Ok(vec![]);
        };
        let others = images.iter().chain(target);
        let smallest = self.network().smallest();
        if let Some(other) = others.clone().find(|i| i.dimensions() != (width, height)) {
            let (w, h) = other.dimensions();
            let message = format!("images of {width}x{height} and {w}x{h} pixels in one batch");
            return Err(MetricsError::Mismatch(message));
        }
        if (width.min(height) as usize) < smallest {
            let name = self.network().name();
            let message = format!(
                "images of {width}x{height} pixels are too small for LPIPS with {name}, which needs {smallest} at least"
            );
            return Err(MetricsError::Mismatch(message));
        }
        let [images, target] = [images, target].map(|all| tensor(all, &self.device()));
        let distances = self.distance(images, target);
        let [n] = distances.dims();
        let rows = Rows::of(distances.reshape([n, 1]))?;
        rows.check("LPIPS", 0)?;
        Ok(rows.values.into_iter().map(f64::from).collect())
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
            let values = Tensor::<1>::from_floats(values, &self.backbone.device());
            beside(&images, &values).reshape([1, 3, 1, 1])
        };
        let (shift, scale) = (colours(SHIFT), colours(SCALE));
        self.backbone.features((images - shift) / scale)
    }
}

/// Images of one size as `[n, 3, h, w]` in -1..=1.
fn tensor(images: &[RgbImage], device: &Device) -> Tensor<4> {
    let (width, height) = images[0].dimensions();
    let shape = [images.len(), height as usize, width as usize, 3];
    let bytes = images.iter().flat_map(|image| image.as_raw());
    let values: Vec<f32> = bytes.map(|byte| f32::from(*byte) / 127.5 - 1.0).collect();
    let pixels = Tensor::<4>::from_data(TensorData::new(values, shape), device);
    pixels.permute([0, 3, 1, 2])
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
