//! Inception-v3: images in, features and logits out.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;

use crate::error::Result;
use crate::features::{Features, Rows};
use crate::inception::layout::{DIMS, Pool, Variant};
use crate::inception::network::joined;
use crate::inception::weights::{self, Weights};
use crate::resize::{Filter, planes};

/// Side of the images that the network sees.
const SIDE: usize = 299;

/// Which package's way to bring images to 299 x 299 pixels is followed; figures of different ways must not be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preparation {
    /// `pytorch-fid`: bilinear without anti-aliasing, pixels to -1..=1.
    #[default]
    PytorchFid,
    /// `torch-fidelity`, and TensorFlow 1 in ADM's evaluator: bilinear from pixel corners, (x - 128) / 128.
    TorchFidelity,
    /// `clean-fid` in its mode `clean`: Pillow's bicubic with anti-aliasing in floating point, (x - 128) / 128.
    CleanFid,
}

impl Preparation {
    /// The package.
    pub fn name(self) -> &'static str {
        match self {
            Preparation::PytorchFid => "pytorch-fid",
            Preparation::TorchFidelity => "torch-fidelity",
            Preparation::CleanFid => "clean-fid",
        }
    }

    /// An image as the network sees it: three planes of 299 x 299.
    fn prepare(self, image: &RgbImage) -> Vec<f32> {
        let filter = match self {
            Preparation::PytorchFid => Filter::Bilinear,
            Preparation::TorchFidelity => Filter::Tensorflow,
            Preparation::CleanFid => Filter::Bicubic,
        };
        let mut values = planes(image, [SIDE; 2], filter);
        let scaled = |value: f32| match self {
            Preparation::PytorchFid => 2.0 * (value / 255.0) - 1.0,
            _ => (value - 128.0) / 128.0,
        };
        values.iter_mut().for_each(|value| *value = scaled(*value));
        values
    }
}

/// The network with its weights.
#[derive(Debug)]
pub struct Inception {
    weights: Weights,
    preparation: Preparation,
    device: Device,
}

impl Inception {
    /// Reads the weights of either variant to `device`; which it is, the number of classes tells.
    ///
    /// # Errors
    /// If the file cannot be read, or is none of Inception-v3.
    pub fn open(path: &Path, preparation: Preparation, device: &Device) -> Result<Self> {
        Ok(Self {
            weights: weights::read(path, device)?,
            preparation,
            device: device.clone(),
        })
    }

    /// Which Inception-v3 it is.
    pub fn variant(&self) -> Variant {
        self.weights.variant
    }

    /// The average of the last block, `[n, 2048]`.
    fn pooled(&self, images: &[RgbImage]) -> Tensor<2> {
        let prepared = images
            .par_iter()
            .flat_map_iter(|image| self.preparation.prepare(image));
        let shape = [images.len(), 3, SIDE, SIDE];
        let data = TensorData::new(prepared.collect::<Vec<f32>>(), shape);
        let mut x = Tensor::<4>::from_data(data, &self.device);
        for (layer, halving) in &self.weights.stem {
            x = layer.forward(x);
            if *halving {
                x = Pool::Halving.forward(x);
            }
        }
        for block in &self.weights.blocks {
            x = joined(block, &x);
        }
        let [n, c, h, w] = x.dims();
        x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
    }
}

impl Features for Inception {
    fn label(&self) -> String {
        let variant = match self.variant() {
            Variant::Fid => "Inception-v3 of FID",
            Variant::Torchvision => "torchvision's Inception-v3",
        };
        format!(
            "{variant}, images resized as by {}",
            self.preparation.name()
        )
    }

    fn dims(&self) -> usize {
        DIMS
    }

    fn features(&self, images: &[RgbImage]) -> Result<Rows> {
        Rows::of(self.pooled(images))
    }

    /// Without the bias for FID's variant, as the Inception Score has always been computed.
    fn logits(&self, images: &[RgbImage]) -> Result<Rows> {
        let logits = self.pooled(images).matmul(self.weights.classifier.clone());
        Rows::of(match self.variant() {
            Variant::Fid => logits,
            Variant::Torchvision => logits + self.weights.bias.clone().unsqueeze(),
        })
    }
}
