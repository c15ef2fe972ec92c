//! `nextscale eval tokenizer`: reconstruction of pictures that training never saw, and use of the codes.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::vae::BsqVae;
use nextscale_tokenizer::pyramid::Encoded;
use nextscale_tokenizer::{Pyramid, ScaleSchedule, VqVae};
use serde::Serialize;

use crate::common::{Common, Measured, OnProgress};
use crate::pixels;
use crate::usage::{ScaleReport, Usage};
use nextscale_data::{Dataset, captions::WHITE};
use nextscale_models::bundle::Model;

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

/// The auto-encoder of a model.
enum Tokenizer {
    Bits(Box<BsqVae>),
    Codes(Box<VqVae>),
}

impl Tokenizer {
    /// That of the model of a name, and its schedule for pictures of `side` pixels.
    fn load(name: &str, side: usize, device: &Device) -> anyhow::Result<(Self, ScaleSchedule)> {
        let paints_none =
            || anyhow::anyhow!("the model `{name}` does not paint {side}x{side} pixels");
        match Model::open(name)? {
            Model::Text(bundle) => {
                let manifest = bundle.manifest();
                let size = manifest.size(Some(side), Some(side));
                let size = size.map_err(|_| paints_none())?;
                let schedule = size.schedule().map_err(anyhow::Error::msg)?;
                let schedule = manifest.patching.cells(&schedule);
                Ok((Self::Bits(Box::new(bundle.vae(device)?)), schedule))
            }
            Model::Class(bundle) => {
                let manifest = bundle.manifest();
                anyhow::ensure!(manifest.size() == (side, side), paints_none());
                let schedule = manifest.transformer.schedule.clone();
                Ok((Self::Codes(Box::new(bundle.vae(device)?)), schedule))
            }
            Model::Video(_) => Err(paints_none()),
        }
    }

    fn usage(&self, scales: usize) -> Usage {
        match self {
            Self::Bits(vae) => Usage::bits(scales, vae.bits),
            Self::Codes(vae) => Usage::codes(scales, vae.codebook.vocabulary()),
        }
    }

    fn encode(&self, image: Tensor<4>) -> Tensor<5> {
        match self {
            Self::Bits(vae) => vae.encode(image),
            Self::Codes(vae) => vae.encode(image),
        }
    }

    fn quantise(&self, latent: Tensor<5>, schedule: &ScaleSchedule) -> Encoded {
        match self {
            Self::Bits(vae) => Pyramid::plain(&vae.quantizer()).encode(latent, schedule),
            Self::Codes(vae) => vae.pyramid().encode(latent, schedule),
        }
    }

    fn decode(&self, latent: Tensor<5>) -> Tensor<4> {
        match self {
            Self::Bits(vae) => vae.decode(latent),
            Self::Codes(vae) => vae.decode(latent),
        }
    }
}

/// Measures the reconstruction of images and the use of the codes.
///
/// # Errors
/// When the model or the data set can't be used.
pub fn run(options: &TokenizerOptions, progress: &OnProgress) -> anyhow::Result<Measured<Report>> {
    let (set, device) = options.common.open()?;
    let side = set.size();
    let (tokenizer, schedule) = Tokenizer::load(&options.model, side, &device)?;
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
    let (mut report, tiles) = measure(&tokenizer, &schedule, &set, &ids, batch, &device, progress);
    report.held_out = !options.seen;
    Ok(Measured {
        report,
        tiles,
        side,
    })
}

/// Repaints the pictures; gives the report and up to 64 pairs of original and reconstruction.
fn measure(
    tokenizer: &Tokenizer,
    schedule: &ScaleSchedule,
    set: &Dataset,
    ids: &[usize],
    batch: usize,
    device: &Device,
    progress: &OnProgress,
) -> (Report, Vec<Vec<u8>>) {
    let mut usage = tokenizer.usage(schedule.len());
    let (mut errors, mut free, mut pairs) = (Vec::new(), 0.0, Vec::new());
    for chunk in ids.chunks(batch) {
        let originals: Vec<Vec<u8>> = chunk.iter().map(|&i| set.image(i, WHITE)).collect();
        let image = pixels::to_tensor(&originals, set.size(), device);
        let latent = tokenizer.encode(image);
        let encoded = tokenizer.quantise(latent.clone(), schedule);
        usage.add(&encoded.codes);
        let plain = pixels::to_bytes(tokenizer.decode(latent));
        let painted = pixels::to_bytes(tokenizer.decode(encoded.sum));
        for ((original, painted), plain) in originals.iter().zip(&painted).zip(&plain) {
            errors.push(pixels::mse(original, painted));
            free += pixels::mse(original, plain);
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
        style.psnr = pixels::psnr(style.psnr / style.pictures as f64);
    }
    let report = Report {
        pictures: ids.len(),
        held_out: true,
        psnr: pixels::psnr(errors.iter().sum::<f64>() / count),
        psnr_without_bits: pixels::psnr(free / count),
        psnr_of_a_picture: errors.iter().map(|e| pixels::psnr(*e)).sum::<f64>() / count,
        styles,
        used_codes: usage.used(),
        scales: usage.report(schedule),
    };
    (report, pairs)
}
