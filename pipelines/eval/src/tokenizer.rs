//! `nextscale eval tokenizer`: reconstruction of images that training never saw, and use of the codes.

use std::collections::BTreeMap;

use burn::tensor::Device;
use nextscale_data::{Dataset, captions::WHITE};
use nextscale_metrics::pairs::{mse, psnr};
use nextscale_models::device::Dtype;
use nextscale_models::generator::ImageAutoencoder;
use nextscale_models::{Manifest, Model, pixels};
use nextscale_tokenizer::ScaleSchedule;
use serde::Serialize;

use crate::error::EvalError;
use crate::measure::{MeasureOptions, Measured, OnProgress};
use crate::usage::{ScaleReport, Usage};

/// Images on the contact sheet: originals and reconstructions.
const TILES: usize = 128;

/// What to measure.
#[derive(Debug, Clone)]
pub struct TokenizerOptions {
    /// The model: a name or a folder.
    pub model: String,
    /// Use images of the training set instead of held-out ones.
    pub seen: bool,
    /// Use at most this many images, evenly spread.
    pub count: usize,
    /// Data set, batch and device.
    pub measure: MeasureOptions,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Number of images.
    #[serde(rename = "pictures")]
    pub images: usize,
    /// Whether the images were held out from training.
    pub held_out: bool,
    /// PSNR of the mean squared error over all images, in dB.
    pub psnr: f64,
    /// The same without the quantizer: what the auto-encoder alone loses.
    pub psnr_without_bits: f64,
    /// Mean PSNR of an image, in dB.
    #[serde(rename = "psnr_of_a_picture")]
    pub mean_image_psnr: f64,
    /// Figures of each style or class.
    pub styles: BTreeMap<String, StyleReport>,
    /// Number of codes of the codebook that occur, and of all its codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_codes: Option<(usize, usize)>,
    /// Use of the codes at each scale.
    pub scales: Vec<ScaleReport>,
}

/// Figures of one style or class.
#[derive(Debug, Default, Serialize)]
pub struct StyleReport {
    /// Number of images.
    #[serde(rename = "pictures")]
    pub images: usize,
    /// PSNR of the mean squared error over them, in dB.
    pub psnr: f64,
}

/// Measures the reconstruction of images and the use of the codes.
///
/// # Errors
/// The model or the data set cannot be used, or the model does not generate images of the data set's size.
pub fn run(
    options: &TokenizerOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<Report>, EvalError> {
    let set = Dataset::load(&options.measure.data)?;
    let placement = options.measure.open(Dtype::F32)?;
    let model = Model::open(&options.model)?;
    let schedule = schedule(&model, set.size())?;
    let autoencoder = ImageAutoencoder::load(&model, &placement)?;
    let ids = choose(&set, options)?;
    let mut measurement = Measurement::new(&autoencoder, schedule, &set);
    for (i, chunk) in ids.chunks(options.measure.batch).enumerate() {
        measurement.add(chunk, &placement.device)?;
        progress((i * options.measure.batch) + chunk.len(), ids.len());
    }
    Ok(Measured {
        tiles: std::mem::take(&mut measurement.tiles),
        report: measurement.report(&ids, !options.seen),
        side: set.size(),
    })
}

/// The auto-encoder's schedule for images of `side` x `side` pixels.
fn schedule(model: &Model, side: usize) -> Result<ScaleSchedule, EvalError> {
    let schedule = model.size(side, side)?.schedule();
    let schedule = schedule.map_err(|flaw| flaw.of(model.name()))?;
    Ok(match model.manifest() {
        Manifest::Infinity(manifest) => manifest.patching.cells(&schedule),
        Manifest::Var(_) | Manifest::InfinityStar(_) => schedule,
    })
}

/// The images to measure.
fn choose(set: &Dataset, options: &TokenizerOptions) -> Result<Vec<usize>, EvalError> {
    let (ids, kind) = if options.seen {
        (set.train_ids(), "training")
    } else {
        (set.held_out_ids(), "held-out")
    };
    if ids.is_empty() {
        return Err(EvalError::NoImages {
            folder: set.folder().to_owned(),
            kind,
        });
    }
    let count = options.count.min(ids.len());
    Ok((0..count).map(|i| ids[i * ids.len() / count]).collect())
}

/// What has been measured so far.
struct Measurement<'a> {
    autoencoder: &'a ImageAutoencoder,
    schedule: ScaleSchedule,
    set: &'a Dataset,
    usage: Usage,
    /// Mean squared error of each image.
    errors: Vec<f64>,
    /// Sum of the mean squared errors without the quantizer.
    unquantized: f64,
    tiles: Vec<Vec<u8>>,
}

impl<'a> Measurement<'a> {
    fn new(autoencoder: &'a ImageAutoencoder, schedule: ScaleSchedule, set: &'a Dataset) -> Self {
        let scales = schedule.len();
        let usage = match autoencoder {
            ImageAutoencoder::Bsq(vae) => Usage::bits(scales, vae.bits),
            ImageAutoencoder::Vq(vae) => Usage::codes(scales, vae.codebook.vocabulary()),
        };
        Self {
            autoencoder,
            schedule,
            set,
            usage,
            errors: Vec::new(),
            unquantized: 0.0,
            tiles: Vec::new(),
        }
    }

    /// Reconstructs one batch.
    fn add(&mut self, ids: &[usize], device: &Device) -> Result<(), EvalError> {
        let side = self.set.size();
        let originals: Vec<Vec<u8>> = ids.iter().map(|&i| self.set.image(i, WHITE)).collect();
        let bytes = originals.iter().map(Vec::as_slice);
        let images = pixels::from_bytes(bytes, [side, side], device);
        let latent = self.autoencoder.encode(images);
        let encoded = self.autoencoder.quantize(latent.clone(), &self.schedule);
        self.usage.add(&encoded.codes);
        let decode = |latent| pixels::to_bytes(self.autoencoder.decode(latent, None));
        let (plain, quantized) = (decode(latent)?, decode(encoded.sum)?);
        for ((original, quantized), plain) in originals.into_iter().zip(quantized).zip(&plain) {
            self.errors.push(mse(&original, &quantized));
            self.unquantized += mse(&original, plain);
            if self.tiles.len() < TILES {
                self.tiles.extend([original, quantized]);
            }
        }
        Ok(())
    }

    fn report(&self, ids: &[usize], held_out: bool) -> Report {
        let mut styles: BTreeMap<String, StyleReport> = BTreeMap::new();
        for (&i, error) in ids.iter().zip(&self.errors) {
            let entry = self.set.entry(i);
            let group = self.set.class(i).map_or(&entry.style, |_| &entry.name);
            let style = styles.entry(group.clone()).or_default();
            style.images += 1;
            style.psnr += error;
        }
        for style in styles.values_mut() {
            style.psnr = psnr(style.psnr / style.images as f64);
        }
        let count = ids.len() as f64;
        Report {
            images: ids.len(),
            held_out,
            psnr: psnr(self.errors.iter().sum::<f64>() / count),
            psnr_without_bits: psnr(self.unquantized / count),
            mean_image_psnr: self.errors.iter().map(|&e| psnr(e)).sum::<f64>() / count,
            styles,
            used_codes: self.usage.used(),
            scales: self.usage.report(&self.schedule),
        }
    }
}
