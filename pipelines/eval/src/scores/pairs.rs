//! `nextscale eval psnr-ssim-lpips`: how far the images of two folders are apart, pair by pair.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nextscale_metrics::images;
use nextscale_metrics::lpips::Lpips;
use nextscale_metrics::pairs::{mse, psnr, ssim};
use nextscale_models::device::{DeviceChoice, Dtype};
use serde::Serialize;

use crate::error::EvalError;
use crate::measure::{Measured, OnProgress, open};

/// What to compare.
#[derive(Debug, Clone)]
pub struct PairOptions {
    /// A folder of images.
    pub images: PathBuf,
    /// A folder of images of the same names, whose ending may differ.
    pub reference: PathBuf,
    /// File of VGG16 or AlexNet; without it there is no LPIPS.
    pub weights: Option<PathBuf>,
    /// File of the weights of the channels, if `weights` has none.
    pub lins: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct PairsReport {
    /// Number of pairs.
    pub count: usize,
    /// Pairs whose pixels are all equal; PSNR leaves them out, as it is infinite.
    pub identical: usize,
    /// Mean PSNR of the others, in dB.
    pub psnr: Option<f64>,
    /// Mean SSIM.
    pub ssim: f64,
    /// Mean LPIPS, if there are weights.
    pub lpips: Option<f64>,
    /// The network of LPIPS.
    pub network: Option<&'static str>,
    /// Each pair.
    pub pairs: Vec<PairReport>,
}

/// One pair.
#[derive(Debug, Serialize)]
pub struct PairReport {
    /// The name without its ending.
    pub name: String,
    /// PSNR in dB; none if all pixels are equal.
    pub psnr: Option<f64>,
    /// SSIM.
    pub ssim: f64,
    /// LPIPS, if there are weights.
    pub lpips: Option<f64>,
}

/// Compares all pairs.
///
/// # Errors
/// If an image has no partner, or one of another size, or images or weights cannot be read.
pub fn pairs(
    options: &PairOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<PairsReport>, EvalError> {
    let (ours, theirs) = (named(&options.images)?, named(&options.reference)?);
    let lonely = |one: &BTreeMap<String, PathBuf>, other: &BTreeMap<String, PathBuf>| {
        one.iter()
            .find(|(name, _)| !other.contains_key(*name))
            .map(|(_, path)| path.clone())
    };
    if let Some(path) = lonely(&ours, &theirs).or_else(|| lonely(&theirs, &ours)) {
        return Err(EvalError::NoPartner(path));
    }
    let lpips = match &options.weights {
        Some(weights) => {
            let device = open(options.device, Dtype::F32, false)?.device;
            Some(Lpips::open(weights, options.lins.as_deref(), &device)?)
        }
        None => None,
    };
    let mut all = Vec::new();
    for ((name, one), other) in ours.iter().zip(theirs.values()) {
        all.push(pair(name, one, other, lpips.as_ref())?);
        progress(all.len(), ours.len());
    }
    let psnr: Vec<f64> = all.iter().filter_map(|pair| pair.psnr).collect();
    let distances: Vec<f64> = all.iter().filter_map(|pair| pair.lpips).collect();
    Ok(Measured::plain(PairsReport {
        count: all.len(),
        identical: all.len() - psnr.len(),
        ssim: mean(&all.iter().map(|pair| pair.ssim).collect::<Vec<_>>()).unwrap_or_default(),
        psnr: mean(&psnr),
        lpips: mean(&distances),
        network: lpips.map(|lpips| lpips.network().name()),
        pairs: all,
    }))
}

fn mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

/// The images of a folder by their names in it, without endings.
fn named(folder: &Path) -> Result<BTreeMap<String, PathBuf>, EvalError> {
    let mut all = BTreeMap::new();
    for path in images::list(folder)? {
        let name = path
            .strip_prefix(folder)
            .unwrap_or(&path)
            .with_extension("");
        let name = name.to_string_lossy().into_owned();
        if let Some(other) = all.insert(name, path.clone()) {
            return Err(EvalError::TwoOfOneName { path, other });
        }
    }
    Ok(all)
}

fn pair(
    name: &str,
    one: &Path,
    other: &Path,
    lpips: Option<&Lpips>,
) -> Result<PairReport, EvalError> {
    let (a, b) = (images::read(one)?, images::read(other)?);
    if a.dimensions() != b.dimensions() {
        return Err(EvalError::Sizes {
            one: one.to_owned(),
            size: a.dimensions(),
            other: other.to_owned(),
            other_size: b.dimensions(),
        });
    }
    let error = mse(&a, &b);
    let similarity = ssim(&a, &b, a.width() as usize);
    let distance = lpips.map(|lpips| lpips.of_images(&[a], &[b])).transpose()?;
    Ok(PairReport {
        name: name.to_owned(),
        psnr: (error > 0.0).then(|| psnr(error)),
        ssim: similarity,
        lpips: distance.and_then(|all| all.first().copied()),
    })
}
