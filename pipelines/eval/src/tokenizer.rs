//! `nextscale eval tokenizer`: reconstruction of pictures that training never saw, and use of the codes.

use std::collections::BTreeMap;

use burn::tensor::Device;
use nextscale_tokenizer::ScaleSchedule;
use serde::Serialize;

use crate::common::{Common, Measured, OnProgress};
use crate::distance;
use crate::usage::{ScaleReport, Usage};
use nextscale_data::{Dataset, captions::WHITE};
use nextscale_models::generator::ImageAutoencoder;
use nextscale_models::pixels::{self, NotFinite};
use nextscale_models::{Manifest, Model, ModelError, Size};

/// What to measure.
#[derive(Debug, Clone)]
pub struct TokenizerOptions {
    /// The model: a name or a folder.
    pub model: String,
    /// Use images of the training set instead of held-out ones.
    pub seen: bool,
    /// Use at most this many images, evenly spread.
    pub count: usize,
    /// Data set, seed, batch and device.
    pub common: Common,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Images measured.
    pub pictures: usize,
    /// Whether the images were held out from training.
    pub held_out: bool,
    /// Of the mean squared error over all images, in dB.
    pub psnr: f64,
    /// The same without the quantiser: what the auto-encoder alone loses.
    pub psnr_without_bits: f64,
    /// Mean over images of their own PSNR, in dB.
    pub psnr_of_a_picture: f64,
    /// By style, or by class.
    pub styles: BTreeMap<String, StyleReport>,
    /// Codes of the codebook that occur, and codes in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_codes: Option<(usize, usize)>,
    /// Use of the codes on each scale.
    pub scales: Vec<ScaleReport>,
}

/// Figures of one style or class.
#[derive(Debug, Default, Serialize)]
pub struct StyleReport {
    /// Images measured.
    pub pictures: usize,
    /// Of the mean squared error over them, in dB.
    pub psnr: f64,
}

/// The auto-encoder of a model, and its schedule for images of `side` pixels.
fn load(
    name: &str,
    side: usize,
    device: &Device,
) -> Result<(ImageAutoencoder, ScaleSchedule), ModelError> {
    let model = Model::open(name)?;
    let sizes = model.manifest().sizes();
    let Some(size) = Size::find(&sizes, Some(side), Some(side)) else {
        let message = format!("does not generate {side}x{side} pixels");
        return Err(ModelError::flawed(name, message));
    };
    let schedule = size.schedule().map_err(|flaw| flaw.of(name))?;
    let schedule = match model.manifest() {
        Manifest::Infinity(manifest) => manifest.patching.cells(&schedule),
        _ => schedule,
    };
    Ok((ImageAutoencoder::load(&model, device)?, schedule))
}

fn usage_of(autoencoder: &ImageAutoencoder, scales: usize) -> Usage {
    match autoencoder {
        ImageAutoencoder::Bsq(vae) => Usage::bits(scales, vae.bits),
        ImageAutoencoder::Vq(vae) => Usage::codes(scales, vae.codebook.vocabulary()),
    }
}

/// Measures the reconstruction of images and the use of the codes.
///
/// # Errors
/// When the model or the data set can't be used.
pub fn run(options: &TokenizerOptions, progress: &OnProgress) -> anyhow::Result<Measured<Report>> {
    let (set, device) = options.common.open()?;
    let side = set.size();
    let (tokenizer, schedule) = load(&options.model, side, &device)?;
    let ids = if options.seen {
        set.train_ids()
    } else {
        set.held_out_ids()
    };
    anyhow::ensure!(
        !ids.is_empty(),
        "{} has no such pictures",
        set.folder().display()
    );
    let count = options.count.min(ids.len());
    let ids: Vec<usize> = (0..count).map(|i| ids[i * ids.len() / count]).collect();
    let batch = options.common.batch;
    let (mut report, tiles) = measure(&tokenizer, &schedule, &set, &ids, batch, &device, progress)?;
    report.held_out = !options.seen;
    Ok(Measured {
        report,
        tiles,
        side,
    })
}

/// Repaints the pictures; gives the report and up to 64 pairs of original and reconstruction.
fn measure(
    tokenizer: &ImageAutoencoder,
    schedule: &ScaleSchedule,
    set: &Dataset,
    ids: &[usize],
    batch: usize,
    device: &Device,
    progress: &OnProgress,
) -> Result<(Report, Vec<Vec<u8>>), NotFinite> {
    let mut usage = usage_of(tokenizer, schedule.len());
    let (mut errors, mut free, mut pairs) = (Vec::new(), 0.0, Vec::new());
    for chunk in ids.chunks(batch) {
        let originals: Vec<Vec<u8>> = chunk.iter().map(|&i| set.image(i, WHITE)).collect();
        let image =
            pixels::from_bytes(originals.iter().map(Vec::as_slice), [set.size(); 2], device);
        let latent = tokenizer.encode(image);
        let encoded = tokenizer.quantize(latent.clone(), schedule);
        usage.add(&encoded.codes);
        let plain = pixels::to_bytes(tokenizer.decode(latent, Some(false)))?;
        let painted = pixels::to_bytes(tokenizer.decode(encoded.sum, Some(false)))?;
        for ((original, painted), plain) in originals.iter().zip(&painted).zip(&plain) {
            errors.push(distance::mse(original, painted));
            free += distance::mse(original, plain);
            if pairs.len() < 128 {
                pairs.extend([original.clone(), painted.clone()]);
            }
        }
        progress(errors.len(), ids.len());
    }
    let count = ids.len() as f64;
    let mut styles: BTreeMap<String, StyleReport> = BTreeMap::new();
    for (&i, error) in ids.iter().zip(&errors) {
        let entry = set.entry(i);
        let of = set.class(i).map_or(&entry.style, |_| &entry.name);
        let style = styles.entry(of.clone()).or_default();
        style.pictures += 1;
        style.psnr += error;
    }
    for style in styles.values_mut() {
        style.psnr = distance::psnr(style.psnr / style.pictures as f64);
    }
    let report = Report {
        pictures: ids.len(),
        held_out: true,
        psnr: distance::psnr(errors.iter().sum::<f64>() / count),
        psnr_without_bits: distance::psnr(free / count),
        psnr_of_a_picture: errors.iter().map(|e| distance::psnr(*e)).sum::<f64>() / count,
        styles,
        used_codes: usage.used(),
        scales: usage.report(schedule),
    };
    Ok((report, pairs))
}
