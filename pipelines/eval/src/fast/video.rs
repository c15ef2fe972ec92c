//! What each way to be faster costs a model of videos.

use std::sync::Arc;
use std::time::Instant;

use nextscale_metrics::pairs::{mse, psnr, ssim_of_brightness};
use nextscale_models::generator::{Request, VideoGenerator, VideoPlan};
use nextscale_models::shortcuts::{ShortcutChoice, VideoShortcuts};
use nextscale_models::{Model, ModelError, Placement, Size};
use serde::Serialize;

use super::options::FastOptions;
use crate::error::EvalError;
use crate::measure::{Measured, OnProgress};
use crate::metrics::median;

/// Prompts if none are given.
const PROMPTS: &[&str] = &[
    "red apple bouncing",
    "dog sliding left",
    "house zooming in",
    "umbrella rotating clockwise",
    "car sliding right",
    "cat fading out",
    "sun rising",
    "fish orbiting clockwise",
];
/// Videos on the contact sheet, each with all settings.
const SHOWN: usize = 12;

/// What was measured of a model of videos.
#[derive(Debug, Serialize)]
pub struct VideoReport {
    /// Name in the model's manifest.
    pub model: String,
    /// Fingerprint of the weights.
    pub fingerprint: Option<String>,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Frames of a video.
    pub frames: usize,
    /// Number of videos.
    pub videos: usize,
    /// Seed of the first one.
    pub seed: u64,
    /// The full run, then each setting.
    pub settings: Vec<VideoSettingReport>,
}

/// What was measured of one setting.
#[derive(Debug, Serialize)]
pub struct VideoSettingReport {
    /// Scales of each clip with guidance; all if absent.
    pub guidance_until: Option<usize>,
    /// Shares of the tokens of the last scales of each clip.
    pub keep_tokens: Vec<f64>,
    /// Passes over each scale, at most.
    pub repeats: Option<usize>,
    /// Share of repeated bits below which the other passes over a scale are left out.
    pub converge: Option<f64>,
    /// Mean number of passes that were run.
    pub passes: f64,
    /// Seconds from the end of the first pass to the last frame: the median.
    pub seconds: f64,
    /// Estimated memory of a run, in bytes.
    pub memory: u64,
    /// Mean peak signal-to-noise ratio to the full run, in dB; none for the full run, and where all pixels are equal.
    pub psnr: Option<f64>,
    /// Mean structural similarity of the frames to those of the full run.
    pub ssim: f64,
}

/// One video.
struct Video {
    /// RGB bytes of each frame.
    frames: Vec<Vec<u8>>,
    passes: usize,
    seconds: f64,
}

/// Generates all videos and compares them.
pub(super) fn run(
    options: &FastOptions,
    model: &Arc<Model>,
    placement: &Placement,
    progress: OnProgress<'_>,
) -> Result<Measured<VideoReport>, EvalError> {
    if options.data.is_some() {
        let message = "recall on a data set is measured of images, not of videos";
        return Err(ModelError::refused_with(message, "leave --data out").into());
    }
    let manifest = model.infinity_star()?;
    let size = match options.size {
        Some([width, height]) => model.size(width, height)?,
        None => model.default_size()?,
    };
    let settings = settings(&options.settings, size.scales.len())?;
    let full = VideoPlan::new(manifest.clone(), size.clone(), manifest.frames.default)?;
    let plan = |setting: &VideoShortcuts| full.clone().with_shortcuts(setting.clone());
    let plans: Result<Vec<_>, _> = settings.iter().map(plan).collect();
    let plans = plans.map_err(ModelError::from)?;
    let generator = VideoGenerator::load(model, placement)?;
    let video = |index, setting| video(&generator, options, &size, index, setting);
    video(0, &settings[0])?; // not counted
    let mut runs: Vec<Vec<Video>> = settings.iter().map(|_| vec![]).collect();
    for index in 0..options.count {
        for (setting, runs) in settings.iter().zip(&mut runs) {
            runs.push(video(index, setting)?);
        }
        progress(index + 1, options.count);
    }
    let all = settings.iter().zip(&plans).zip(&runs);
    let reports = all.map(|((setting, plan), videos)| {
        let estimate = model.estimate_video(plan, placement).in_one_thread();
        compare(setting, videos, &runs[0], size.width, estimate.total())
    });
    let report = VideoReport {
        model: manifest.name.clone(),
        fingerprint: model.fingerprint(),
        size: [size.width, size.height],
        frames: manifest.frames.default,
        videos: options.count,
        seed: options.seed,
        settings: reports.collect(),
    };
    let (tiles, side) = tiles(&runs, &size);
    Ok(Measured {
        report,
        tiles,
        side,
    })
}

/// The full run, then each setting, without those that leave nothing out.
fn settings(choices: &[ShortcutChoice], scales: usize) -> Result<Vec<VideoShortcuts>, EvalError> {
    let mut all = vec![VideoShortcuts::default()];
    if choices.is_empty() {
        all.push(VideoShortcuts::fast(scales));
    }
    for choice in choices {
        let resolved = choice.resolve_video(scales).map_err(ModelError::from)?;
        if !all.contains(&resolved) {
            all.push(resolved);
        }
    }
    Ok(all)
}

/// One video with a setting.
fn video(
    generator: &VideoGenerator,
    options: &FastOptions,
    size: &Size,
    index: usize,
    setting: &VideoShortcuts,
) -> Result<Video, EvalError> {
    let given = &options.prompts;
    let prompt = match given.len() {
        0 => PROMPTS[index % PROMPTS.len()],
        count => &given[index % count],
    };
    let request = Request::prompt(prompt)
        .seed(options.seed.wrapping_add(index as u64))
        .size(size.width, size.height)
        .shortcuts(setting.choice());
    // The first pass is one token; before it come text and first frame, which no setting changes.
    let (mut passes, mut start) = (0, None);
    let clip = generator.generate_watched(&request, &mut |_| {
        passes += 1;
        start.get_or_insert_with(Instant::now);
    })?;
    Ok(Video {
        seconds: start.map_or(0.0, |start| start.elapsed().as_secs_f64()),
        frames: clip.frames.into_iter().map(|f| f.into_raw()).collect(),
        passes,
    })
}

/// The figures of a setting's videos against those of the full run.
fn compare(
    setting: &VideoShortcuts,
    videos: &[Video],
    full: &[Video],
    width: usize,
    memory: u64,
) -> VideoSettingReport {
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let of_frames = |measure: &dyn Fn(&[u8], &[u8]) -> f64| -> Vec<f64> {
        let pairs = videos.iter().zip(full);
        let of_video = |(one, other): (&Video, &Video)| {
            let frames = one.frames.iter().zip(&other.frames);
            mean(frames.map(|(one, other)| measure(one, other)).collect())
        };
        pairs.map(of_video).collect()
    };
    let errors = of_frames(&mse);
    let ratios: Vec<f64> = errors.into_iter().filter(|e| *e > 0.0).map(psnr).collect();
    VideoSettingReport {
        guidance_until: setting.guidance_until,
        keep_tokens: setting.keep_tokens.clone(),
        repeats: setting.repeats,
        converge: setting.converge,
        passes: mean(videos.iter().map(|video| video.passes as f64).collect()),
        seconds: median(videos.iter().map(|video| video.seconds)),
        memory,
        psnr: (!ratios.is_empty()).then(|| mean(ratios)),
        ssim: mean(of_frames(&|one, other| {
            ssim_of_brightness(one, other, width)
        })),
    }
}

/// The middle frames of the first videos, each with all settings beside it, and their side; none if they are not square.
fn tiles(runs: &[Vec<Video>], size: &Size) -> (Vec<Vec<u8>>, usize) {
    if size.width != size.height {
        return (vec![], 0);
    }
    let videos = runs.first().map_or(0, Vec::len).min(SHOWN);
    let middle = |video: &Video| video.frames.get(video.frames.len() / 2).cloned();
    let of_video = |index: usize| runs.iter().filter_map(move |run| middle(&run[index]));
    ((0..videos).flat_map(of_video).collect(), size.width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_measured_once() {
        assert_eq!(settings(&[], 4).unwrap().len(), 2);
        let twice = ShortcutChoice {
            repeats: Some(1),
            ..ShortcutChoice::default()
        };
        let all = settings(&[twice.clone(), twice], 4).unwrap();
        assert_eq!((all.len(), all[1].repeats), (2, Some(1)));
        let wrong = ShortcutChoice {
            scales: Some(1),
            ..ShortcutChoice::default()
        };
        assert!(settings(&[wrong], 4).is_err());
    }

    #[test]
    fn figures_of_known_videos() {
        let video = |value: u8, passes| Video {
            frames: vec![vec![100; 12 * 12 * 3], vec![value; 12 * 12 * 3]],
            passes,
            seconds: f64::from(value),
        };
        let full = [video(100, 9), video(100, 9)];
        let other = [video(151, 5), video(100, 6)];
        let report = compare(&VideoShortcuts::default(), &other, &full, 12, 7);
        // Half of the frames of the one that differs are those of the known images.
        assert!((report.psnr.unwrap() - (13.979 + 3.010)).abs() < 1e-3);
        assert_eq!(
            (report.passes, report.seconds, report.memory),
            (5.5, 125.5, 7)
        );
        let same = compare(&VideoShortcuts::default(), &full, &full, 12, 7);
        assert_eq!((same.psnr, same.ssim), (None, 1.0));
    }
}
