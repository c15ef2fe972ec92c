//! CLIP: images and texts in, vectors and scores out.

use std::path::Path;

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::{RgbImage, imageops};
use rayon::prelude::*;

use crate::clip::tokens::Tokens;
use crate::clip::weights::{self, Text, Vision};
use crate::error::{MetricsError, Result};
use crate::features::{Features, Rows};
use crate::resize::bicubic_8bit;

/// Means and standard deviations of red, green and blue in 0..=1.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Both towers, and the tokenizer if there is one.
#[derive(Debug)]
pub struct Clip {
    vision: Vision,
    text: Text,
    device: Device,
}

impl Clip {
    /// Reads the weights, ViT-B/32, ViT-L/14 or another vision transformer in OpenAI's layout, to `device`.
    ///
    /// # Errors
    /// If the file cannot be read, or is no such CLIP.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let (vision, text) = weights::read(path, device)?;
        Ok(Self {
            vision,
            text,
            device: device.clone(),
        })
    }

    /// What it is, such as `CLIP ViT-B/32`, by width and patch.
    pub fn name(&self) -> String {
        let [width, _, patch, _] = self.vision.patches.dims();
        let size = match width {
            768 => "B".to_owned(),
            1024 => "L".to_owned(),
            width => format!("{width}"),
        };
        format!("CLIP ViT-{size}/{patch} of {} pixels", self.vision.side)
    }

    /// The vectors of images before they are normalised, `[n, e]`.
    pub fn images(&self, images: &[RgbImage]) -> Result<Rows> {
        let vision = &self.vision;
        let (n, side) = (images.len(), vision.side);
        let prepared = images
            .par_iter()
            .flat_map_iter(|image| prepare(image, side));
        let data = TensorData::new(prepared.collect::<Vec<f32>>(), [n, 3, side, side]);
        let x = Tensor::<4>::from_data(data, &self.device);
        let [c, _, patch, _] = vision.patches.dims();
        let options = ConvOptions::new([patch; 2], [0; 2], [1; 2], 1);
        let x = conv2d(x, vision.patches.clone(), None, options);
        let grid = side / patch;
        let x = x.reshape([n, c, grid * grid]).swap_dims(1, 2);
        let class = vision.class.clone().reshape([1, 1, c]).expand([n, 1, c]);
        let x = Tensor::cat(vec![class, x], 1) + vision.positions.clone().unsqueeze();
        let x = vision.norm_before.forward(x);
        let blocks = vision.blocks.iter();
        let x = blocks.fold(x, |x, block| block.forward(x, None));
        let x = vision.norm_after.forward(x.narrow(1, 0, 1));
        Rows::of(x.reshape([n, c]).matmul(vision.projection.clone()))
    }

    /// The vectors of texts before they are normalised, `[n, e]`, and how many texts were cut because they are too long.
    ///
    /// # Errors
    /// If the vocabulary is that of another model, or the device fails.
    pub fn texts(&self, tokens: &Tokens, texts: &[String]) -> Result<(Rows, usize)> {
        let [known, c] = self.text.tokens.dims();
        let [length, _] = self.text.positions.dims();
        let (mut ids, mut ends, mut cut) = (Vec::new(), Vec::new(), 0);
        for text in texts {
            let (mut row, is_cut) = tokens.encode(text, length)?;
            if let Some(id) = row.iter().find(|id| **id as usize >= known) {
                let message = format!(
                    "the vocabulary has a token {id}, and the weights know {known}: they are of different models"
                );
                return Err(MetricsError::Mismatch(message));
            }
            cut += usize::from(is_cut);
            ends.push(row.len() - 1);
            row.resize(length, 0);
            ids.extend(row.into_iter().map(i64::from));
        }
        let n = texts.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [n * length]), &self.device);
        let x = self.text.tokens.clone().select(0, ids);
        let x = x.reshape([n, length, c]) + self.text.positions.clone().unsqueeze();
        let mask = causal(length, &self.device);
        let blocks = self.text.blocks.iter();
        let x = blocks.fold(x, |x, block| block.forward(x, Some(&mask)));
        let x = self.text.norm.forward(x).reshape([n * length, c]);
        let at = ends.iter().enumerate();
        let at: Vec<i64> = at.map(|(i, end)| (i * length + end) as i64).collect();
        let at = Tensor::<1, Int>::from_data(TensorData::new(at, [n]), &self.device);
        let x = x.select(0, at).matmul(self.text.projection.clone());
        Ok((Rows::of(x)?, cut))
    }
}

/// The CLIP score of each pair of vectors: 100 times the cosine of the angle between them.
///
/// # Errors
/// If there are not as many images as texts, or a vector is not finite.
pub fn scores(images: &Rows, texts: &Rows) -> Result<Vec<f64>> {
    if images.len() != texts.len() || images.dims != texts.dims {
        let (one, other) = (images.len(), texts.len());
        let message = format!("{one} images do not fit {other} prompts");
        return Err(MetricsError::Mismatch(message));
    }
    images.check("CLIP", 0)?;
    texts.check("CLIP", 0)?;
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b);
        products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let pairs = images.iter().zip(texts.iter());
    let one = |(a, b): (&[f32], &[f32])| 100.0 * dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    Ok(pairs.map(one).collect())
}

/// What is added to the logits of a text's attention: a token sees itself and those before it.
fn causal(length: usize, device: &Device) -> Tensor<4> {
    let hidden = |i: usize| {
        let (row, column) = (i / length, i % length);
        if column > row { f32::NEG_INFINITY } else { 0.0 }
    };
    let values: Vec<f32> = (0..length * length).map(hidden).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, length, length]), device)
}

/// An image as CLIP sees it, as OpenAI's code prepares it with Pillow: the shorter side brought to `side`, the middle, normalised.
fn prepare(image: &RgbImage, side: usize) -> Vec<f32> {
    let (w, h) = (image.width() as usize, image.height() as usize);
    let [height, width] = if w <= h {
        [side * h / w, side]
    } else {
        [side, side * w / h]
    };
    let resized = bicubic_8bit(image, [height, width]);
    let [left, top] = [width, height].map(|all| middle(all - side));
    let side = side as u32;
    let cut = imageops::crop_imm(&resized, left, top, side, side).to_image();
    let plane = |channel: usize| {
        let values = cut.as_raw().iter().skip(channel).step_by(3);
        values.map(move |value| (f32::from(*value) / 255.0 - MEAN[channel]) / DEVIATION[channel])
    };
    (0..3).flat_map(plane).collect()
}

/// Half of `rest`, rounded to the even number as Python does.
fn middle(rest: usize) -> u32 {
    (rest as f64 / 2.0).round_ties_even() as u32
}

impl Features for Clip {
    fn label(&self) -> String {
        self.name()
    }

    fn dims(&self) -> usize {
        let [_, dims] = self.vision.projection.dims();
        dims
    }

    fn features(&self, images: &[RgbImage]) -> Result<Rows> {
        self.images(images)
    }

    fn logits(&self, _: &[RgbImage]) -> Result<Rows> {
        let message = "CLIP knows no classes, which an Inception Score needs";
        Err(MetricsError::Mismatch(message.to_owned()))
    }
}
