//! `nextscale eval motion`: does the sprite of a video do what its prompt says?
//!
//! The centre, size, rotation and opacity of what stands out from the background are tracked through every video. The motion
//! whose course is nearest to the tracked one counts as recognised. Guessing finds 1 of 13. How much of its looks the sprite keeps is
//! measured, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use nextscale_data::{Motion, Pose};
use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_models::generator::VideoGenerator;
use nextscale_models::{Model, Request};
use serde::Serialize;

use crate::error::EvalError;
use crate::measure::{Measured, OnProgress, check_temperature, open};
use crate::tracking::{kept, recognise, track};

/// Things with a plain name that the embedded image model draws well and that look different from every side.
#[rustfmt::skip]
const THINGS: [&str; 20] = [
    "red apple", "dog face", "red heart", "banana", "house", "car", "teapot", "guitar", "rocket", "cat face",
    "hot beverage", "birthday cake", "umbrella", "key", "airplane", "tree", "fish", "light bulb", "hammer", "carrot",
];

/// Frames of each video on the contact sheet.
const TILES: usize = 8;

/// What to measure.
#[derive(Debug, Clone)]
pub struct MotionOptions {
    /// The video model: a name or a folder.
    pub model: String,
    /// Number of prompts.
    pub count: usize,
    /// Seed of the first video; the next ones count up.
    pub seed: u64,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Temperature, at least 0; the model's if absent.
    pub temperature: Option<f64>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Fix which kernels a card takes.
    pub deterministic: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model as it was named.
    pub model: String,
    /// Seed of the first video.
    pub seed: u64,
    /// Number of prompts.
    pub prompts: usize,
    /// Fraction of videos in which the motion of the prompt was recognised.
    pub right: f64,
    /// Fraction in which at least its kind was: a slide, a rotation, a zoom, whatever its direction.
    pub right_kind: f64,
    /// Mean over the videos of what [`Video::kept`] says; none if it says nothing of any.
    pub kept: Option<f64>,
    /// Number of videos, and of right ones, for each motion.
    pub motions: BTreeMap<String, [usize; 2]>,
    /// Each video.
    pub videos: Vec<Video>,
}

/// One video.
#[derive(Debug, Serialize)]
pub struct Video {
    /// Its prompt.
    pub prompt: String,
    /// The motion that was recognised.
    pub seen: &'static str,
    /// The tracked pose at the end: right, down (fractions of the side), size, angle (degrees), opacity.
    pub end: [f32; 5],
    /// Distance between the tracked course and that of the recognised motion.
    pub distance: f32,
    /// PSNR between the sprite of the last frame, moved, turned and scaled back, and that of the first, in dB; none if it is gone by then.
    pub kept: Option<f64>,
}

/// Generates videos and recognises their motions.
///
/// # Errors
/// The model cannot be used, or its frames are not square.
pub fn run(
    options: &MotionOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<Report>, EvalError> {
    check_temperature(options.temperature)?;
    let placement = open(options.device, Dtype::Auto, options.deterministic)?;
    let generator = VideoGenerator::load(&Arc::new(Model::open(&options.model)?), &placement)?;
    let mut report = Report {
        model: options.model.clone(),
        seed: options.seed,
        prompts: options.count,
        right: 0.0,
        right_kind: 0.0,
        kept: None,
        motions: BTreeMap::new(),
        videos: Vec::new(),
    };
    let (mut tiles, mut side) = (Vec::new(), 1);
    for i in 0..options.count {
        let motion = Motion::ALL[i % Motion::ALL.len()];
        let prompt = format!("{} {}", THINGS[i % THINGS.len()], motion.name());
        let (frames, side_of_frames) = video(&generator, options, &prompt, i)?;
        side = side_of_frames;
        let poses = track(&frames, side);
        report.add(prompt, motion, &poses, kept(&frames, side, &poses));
        let last = frames.len() - 1;
        tiles.extend((0..TILES).map(|i| frames[i * last / (TILES - 1)].clone()));
        progress(i + 1, options.count);
    }
    let all: Vec<f64> = report
        .videos
        .iter()
        .filter_map(|video| video.kept)
        .collect();
    report.kept = (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64);
    Ok(Measured {
        report,
        tiles,
        side,
    })
}

/// The frames of one video as RGB bytes, at least one, and their side.
fn video(
    generator: &VideoGenerator,
    options: &MotionOptions,
    prompt: &str,
    index: usize,
) -> Result<(Vec<Vec<u8>>, usize), EvalError> {
    let mut request = Request::prompt(prompt).seed(options.seed.wrapping_add(index as u64));
    if let Some(scale) = options.cfg_scale {
        request = request.cfg_scale(scale);
    }
    if let Some(temperature) = options.temperature {
        request = request.temperature(temperature);
    }
    let clip = generator.generate(&request)?;
    let sides = clip.frames.first().map(image::RgbImage::dimensions);
    let Some((side, _)) = sides.filter(|(width, height)| width == height) else {
        return Err(EvalError::NotSquare(options.model.clone()));
    };
    let frames = clip.frames.into_iter().map(image::RgbImage::into_raw);
    Ok((frames.collect(), side as usize))
}

impl Report {
    fn add(&mut self, prompt: String, motion: Motion, poses: &[Pose], kept: Option<f64>) {
        let (seen, distance) = recognise(poses);
        let share = 1.0 / self.prompts as f64;
        let counts = self.motions.entry(motion.name().into()).or_default();
        counts[0] += 1;
        if seen == motion {
            counts[1] += 1;
            self.right += share;
        }
        if seen.kind() == motion.kind() {
            self.right_kind += share;
        }
        let end = |p: &Pose| [p.x, p.y, p.size, p.angle.to_degrees(), p.alpha];
        self.videos.push(Video {
            prompt,
            seen: seen.name(),
            end: poses.last().map_or([0.0; 5], end),
            distance,
            kept,
        });
    }
}
