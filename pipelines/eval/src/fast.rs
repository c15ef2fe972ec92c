//! `nextscale eval fast`: what each way to be faster costs.
//!
//! Each image is generated once in full and once for each setting, with the same prompt and seed, one after the other, so that times
//! are comparable. Pixels are compared with those of the full run, codes scale by scale. Videos likewise, without their codes: a
//! setting may leave out passes.

mod options;
mod subject;
mod video;

use std::sync::Arc;

use nextscale_metrics::pairs::{mse, psnr, ssim_of_brightness};
use nextscale_models::generator::ImageGenerator;
use nextscale_models::shortcuts::{CacheBudget, ImageShortcuts, ShortcutError};
use nextscale_models::{Manifest, Model, ModelError, Placement, Size};
use serde::Serialize;

pub use self::options::FastOptions;
use self::subject::{Picture, Subject};
pub use self::video::{VideoReport, VideoSettingReport};
use crate::error::EvalError;
use crate::measure::{MeasureOptions, Measured, OnProgress, open};
use crate::metrics::median;
use crate::recall::{self, RecallOptions};

/// Images on the contact sheet, each with all settings.
const SHOWN: usize = 12;

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Of a model of images.
    Images(ImageReport),
    /// Of a model of videos.
    Videos(VideoReport),
}

/// What was measured of a model of images.
#[derive(Debug, Serialize)]
pub struct ImageReport {
    /// Name in the model's manifest.
    pub model: String,
    /// Fingerprint of the weights.
    pub fingerprint: Option<String>,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Number of images.
    pub images: usize,
    /// Seed of the first one.
    pub seed: u64,
    /// The full run, then each setting.
    pub settings: Vec<SettingReport>,
}

/// What was measured of one setting.
#[derive(Debug, Serialize)]
pub struct SettingReport {
    /// Scales that are run.
    pub scales: usize,
    /// Scales with guidance.
    pub guidance_until: usize,
    /// Shares of the tokens of the last scales.
    pub keep_tokens: Vec<f64>,
    /// Share of the keys and values that is kept, if it is not all.
    pub cache_budget: Option<f64>,
    /// The layers that keep all of theirs as long as that is possible.
    pub drafters: Vec<usize>,
    /// Seconds of an image without its text encoder: the median.
    pub seconds: f64,
    /// Estimated memory of a run, in bytes.
    pub memory: u64,
    /// Mean peak signal-to-noise ratio to the full run, in dB; none for the full run, and where all pixels are equal.
    pub psnr: Option<f64>,
    /// Mean structural similarity to the full run.
    pub ssim: f64,
    /// Share of the bits or indices of each scale that differ from those of the full run.
    pub changed: Vec<f64>,
    /// Share of seen and held-out prompts whose image is recognised among the five nearest by its features.
    pub recall: Option<Vec<f64>>,
}

/// Generates all images or videos and compares them.
///
/// # Errors
/// The model or the data set cannot be used, or a setting does not fit the model's scales.
pub fn run(options: &FastOptions, progress: OnProgress<'_>) -> Result<Measured<Report>, EvalError> {
    let model = Arc::new(Model::open(&options.model)?);
    let placement = open(options.device, options.dtype, options.deterministic)?;
    if matches!(model.manifest(), Manifest::InfinityStar(_)) {
        let measured = video::run(options, &model, &placement, progress)?;
        return Ok(measured.map(Report::Videos));
    }
    let measured = images(options, &model, &placement, progress)?;
    Ok(measured.map(Report::Images))
}

fn images(
    options: &FastOptions,
    model: &Arc<Model>,
    placement: &Placement,
    progress: OnProgress<'_>,
) -> Result<Measured<ImageReport>, EvalError> {
    let size = match options.size {
        Some([width, height]) => model.size(width, height)?,
        None => model.default_size()?,
    };
    let generator = ImageGenerator::load(model, placement)?;
    let scales = size.scales.len();
    let choices = options.settings.iter();
    let choices = choices.map(|choice| choice.resolve_for(model, scales));
    let choices: Result<Vec<ImageShortcuts>, ShortcutError> = choices.collect();
    let settings = settings(choices.map_err(ModelError::from)?, scales);
    let subject = Subject::new(options, &generator, &size)?;
    let mut runs: Vec<Vec<Picture>> = settings.iter().map(|_| vec![]).collect();
    subject.picture(0, &settings[0])?; // not counted
    for index in 0..options.count {
        for (setting, runs) in settings.iter().zip(&mut runs) {
            runs.push(subject.picture(index, setting)?);
        }
        progress(index + 1, options.count);
    }
    let mut reports = vec![];
    for (setting, pictures) in settings.iter().zip(&runs) {
        let run = subject.image_run(setting);
        let estimate = model.estimate_image(&size, &run, placement)?;
        let memory = estimate.in_one_thread().total();
        let report = compare(setting, pictures, &runs[0], &size, memory);
        let recall = recall_of(options, setting)?;
        reports.push(SettingReport { recall, ..report });
    }
    let report = ImageReport {
        model: model.manifest().name().to_owned(),
        fingerprint: model.fingerprint(),
        size: [size.width, size.height],
        images: options.count,
        seed: options.seed,
        settings: reports,
    };
    let (tiles, side) = tiles(&runs, &size);
    Ok(Measured {
        report,
        tiles,
        side,
    })
}

/// The full run, then each setting, without those that leave nothing out.
fn settings(choices: Vec<ImageShortcuts>, scales: usize) -> Vec<ImageShortcuts> {
    let none = ImageShortcuts::none(scales);
    let mut all = vec![none.clone()];
    if choices.is_empty() {
        let fast = ImageShortcuts::fast(scales);
        all.extend([
            ImageShortcuts {
                scales: fast.scales,
                guidance_until: fast.scales,
                ..none.clone()
            },
            ImageShortcuts {
                guidance_until: fast.guidance_until,
                ..none.clone()
            },
            ImageShortcuts {
                keep_tokens: fast.keep_tokens.clone(),
                guidance_until: fast.scales,
                scales: fast.scales,
                cache: None,
            },
            fast,
        ]);
    }
    all.extend(choices);
    let mut different: Vec<ImageShortcuts> = vec![];
    for setting in all {
        if !different.contains(&setting) {
            different.push(setting);
        }
    }
    different
}

/// The figures of a setting's images against those of the full run.
fn compare(
    setting: &ImageShortcuts,
    pictures: &[Picture],
    full: &[Picture],
    size: &Size,
    memory: u64,
) -> SettingReport {
    let pairs = || pictures.iter().zip(full);
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let errors = pairs().map(|(one, other)| mse(&one.pixels, &other.pixels));
    let ratios: Vec<f64> = errors.filter(|mse| *mse > 0.0).map(psnr).collect();
    let alike =
        pairs().map(|(one, other)| ssim_of_brightness(&one.pixels, &other.pixels, size.width));
    let changed = |k: usize| {
        let share = |(one, other): (&Picture, &Picture)| {
            let pairs = one.codes[k].iter().zip(&other.codes[k]);
            let changed = pairs.filter(|(a, b)| a != b).count();
            changed as f64 / one.codes[k].len().max(1) as f64
        };
        mean(pairs().map(share).collect())
    };
    SettingReport {
        scales: setting.scales,
        guidance_until: setting.guidance_until,
        keep_tokens: setting.keep_tokens.clone(),
        cache_budget: setting.cache.as_ref().map(CacheBudget::share),
        drafters: setting
            .cache
            .as_ref()
            .map_or(vec![], |cache| cache.drafters().to_vec()),
        seconds: median(pictures.iter().map(|picture| picture.seconds)),
        memory,
        psnr: (!ratios.is_empty()).then(|| mean(ratios)),
        ssim: mean(alike.collect()),
        changed: (0..setting.scales).map(changed).collect(),
        recall: None,
    }
}

/// The recall of a setting, if there is a data set.
fn recall_of(
    options: &FastOptions,
    setting: &ImageShortcuts,
) -> Result<Option<Vec<f64>>, EvalError> {
    let Some(data) = &options.data else {
        return Ok(None);
    };
    let options = RecallOptions {
        model: options.model.clone(),
        seen: 200,
        held_out: 100,
        meant: vec![],
        candidates: 200,
        cfg_scale: None,
        temperature: None,
        shortcuts: setting.choice(),
        measure: MeasureOptions {
            data: data.clone(),
            seed: options.seed,
            batch: 16,
            device: options.device,
            deterministic: options.deterministic,
        },
    };
    let measured = recall::run(&options, &|_, _| ())?;
    let lists = measured.report.lists.iter();
    Ok(Some(lists.map(|list| list.features.among_5).collect()))
}

/// Tiles of the first images, each with all settings beside it, and their side; none if images are not square.
fn tiles(runs: &[Vec<Picture>], size: &Size) -> (Vec<Vec<u8>>, usize) {
    if size.width != size.height {
        return (vec![], 0);
    }
    let images = runs.first().map_or(0, Vec::len).min(SHOWN);
    let of_image = |index: usize| runs.iter().map(move |run| run[index].pixels.clone());
    ((0..images).flat_map(of_image).collect(), size.width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_settings_each_part_of_fast_is_measured() {
        let all = settings(vec![], 13);
        let told: Vec<(usize, usize, usize)> = all
            .iter()
            .map(|s| (s.scales, s.guidance_until, s.keep_tokens.len()))
            .collect();
        assert_eq!(
            told,
            [
                (13, 13, 0),
                (11, 11, 0),
                (13, 9, 0),
                (11, 11, 2),
                (11, 9, 2)
            ]
        );
        // Of four scales all are run with all tokens.
        assert_eq!(settings(vec![], 4).len(), 2);
        let none = ImageShortcuts::none(4);
        assert_eq!(settings(vec![none.clone()], 4), [none]);
    }

    #[test]
    fn figures_of_known_images() {
        let picture = |value: u8, code: i64| Picture {
            pixels: vec![value; 12 * 12 * 3],
            codes: vec![vec![0, 1], vec![code; 4]],
            seconds: f64::from(value),
        };
        let full = [picture(100, 0), picture(100, 0)];
        let other = [picture(151, 1), picture(100, 0)];
        let size = Size {
            width: 12,
            height: 12,
            scales: vec![[1, 1], [2, 2]],
            reference: None,
            known: None,
        };
        let report = compare(&ImageShortcuts::none(2), &other, &full, &size, 7);
        assert!((report.psnr.unwrap() - 13.979).abs() < 1e-3);
        assert_eq!(report.changed, [0.0, 0.5]);
        let same = compare(&ImageShortcuts::none(2), &full, &full, &size, 7);
        assert_eq!((same.psnr, same.ssim), (None, 1.0));
    }
}
