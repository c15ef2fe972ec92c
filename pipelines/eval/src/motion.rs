//! `nextscale eval motion`: does the sprite of a video do what its prompt says?
//!
//! The middle, size, angle and mass of what stands in front of the background are tracked through every video, and the
//! motion whose course is nearest to the tracked one is what was seen. Guessing finds 1 of 13.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::json;

use crate::common::{Measured, OnProgress};
use crate::tracking::{recognise, track};
use nextscale_data::{Motion, Pose};
use nextscale_models::device::DeviceChoice;
use nextscale_pipelines::Pipeline;
use nextscale_pipelines::PipelineSpec;
use nextscale_pipelines::artifact::Artifact;
use nextscale_pipelines::stage::{Cancel, Event};

/// Things with a plain name that the embedded picture model paints well and that look different from all sides.
const THINGS: [&str; 20] = [
    "red apple",
    "dog face",
    "red heart",
    "banana",
    "house",
    "car",
    "teapot",
    "guitar",
    "rocket",
    "cat face",
    "hot beverage",
    "birthday cake",
    "umbrella",
    "key",
    "airplane",
    "tree",
    "fish",
    "light bulb",
    "hammer",
    "carrot",
];

/// What to measure.
#[derive(Debug, Clone)]
pub struct MotionOptions {
    /// The video model: a name or a folder.
    pub model: String,
    /// Number of prompts.
    pub count: usize,
    /// Seed of the first video.
    pub seed: u64,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Temperature; the model's if absent.
    pub temperature: Option<f64>,
    /// Where to compute.
    pub device: DeviceChoice,
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
    /// Share of videos in which the motion of the prompt was recognised.
    pub right: f64,
    /// Share in which at least its kind was: a slide, a turn, a change of size, whatever its direction.
    pub right_kind: f64,
    /// Videos and right ones of each motion.
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
    /// The tracked pose at the end: right, down (parts of the side), size, angle (degrees), share of its mass.
    pub end: [f32; 5],
    /// Distance between the tracked course and that of the recognised motion.
    pub distance: f32,
}

/// Frames of a video as RGB bytes, and their side.
type Clip = (Vec<Vec<u8>>, usize);

/// Generates videos and recognises their motions.
///
/// # Errors
/// When the model can't be used, or its frames are not square.
pub fn run(args: &MotionOptions, progress: &OnProgress) -> anyhow::Result<Measured<Report>> {
    let prompts: Vec<(String, Motion)> = (0..args.count)
        .map(|i| {
            let motion = Motion::ALL[i % Motion::ALL.len()];
            let thing = THINGS[i % THINGS.len()];
            (format!("{thing} {}", motion.name()), motion)
        })
        .collect();
    let clips = videos(args, &prompts, progress)?;
    let mut report = Report {
        model: args.model.clone(),
        seed: args.seed,
        prompts: prompts.len(),
        right: 0.0,
        right_kind: 0.0,
        motions: BTreeMap::new(),
        videos: Vec::new(),
    };
    for ((prompt, motion), (frames, side)) in prompts.iter().zip(&clips) {
        let poses = track(frames, *side);
        let (seen, distance) = recognise(&poses);
        let share = 1.0 / prompts.len() as f64;
        let counts = report.motions.entry(motion.name().into()).or_default();
        counts[0] += 1;
        if seen == *motion {
            counts[1] += 1;
            report.right += share;
        }
        if seen.kind() == motion.kind() {
            report.right_kind += share;
        }
        report.videos.push(Video {
            prompt: prompt.clone(),
            seen: seen.name(),
            end: end(&poses),
            distance,
        });
    }
    Ok(Measured {
        report,
        tiles: tiles(&clips),
        side: clips.first().map_or(1, |(_, side)| *side),
    })
}

fn end(poses: &[Pose]) -> [f32; 5] {
    poses.last().map_or([0.0; 5], |pose| {
        [
            pose.x,
            pose.y,
            pose.size,
            pose.angle.to_degrees(),
            pose.alpha,
        ]
    })
}

/// The videos of all prompts, in their order, made by the pipeline that everybody uses.
fn videos(
    args: &MotionOptions,
    prompts: &[(String, Motion)],
    progress: &OnProgress,
) -> anyhow::Result<Vec<Clip>> {
    let texts: Vec<&str> = prompts.iter().map(|(text, _)| text.as_str()).collect();
    let mut latent = json!({ "stage": "text-to-video", "from": "text" });
    if let Some(cfg) = args.cfg_scale {
        latent["cfg-scale"] = json!(cfg);
    }
    if let Some(temperature) = args.temperature {
        latent["temperature"] = json!(temperature);
    }
    let spec = json!({
        "model": args.model,
        "seed": args.seed,
        "device": args.device,
        "stages": {
            "prompts": { "stage": "prompts", "prompts": texts },
            "text": { "stage": "text-encoder", "from": "prompts" },
            "latent": latent,
            "frames": { "stage": "decode-video", "from": "latent" },
        },
    });
    let spec = PipelineSpec::from_yaml(&spec.to_string(), "eval motion")?;
    let clips: Arc<Mutex<BTreeMap<usize, Clip>>> = Arc::default();
    let (kept, progress, total) = (Arc::clone(&clips), Arc::clone(progress), prompts.len());
    let finished = AtomicUsize::new(0);
    let observer = move |event: Event| {
        let Event::Output { message, .. } = event else {
            return;
        };
        let Artifact::Frames(part) = message.artifact else {
            return;
        };
        let mut kept = kept.lock().expect("no panic while it is held");
        let (frames, side) = kept.entry(message.sample.index).or_default();
        for picture in &part.images {
            *side = picture.width() as usize;
            frames.push(picture.as_raw().clone());
        }
        if part.last {
            progress(finished.fetch_add(1, Ordering::Relaxed) + 1, total);
        }
    };
    Pipeline::new(spec)?.run_blocking(Cancel::default(), Arc::new(observer))?;
    let clips = std::mem::take(&mut *clips.lock().expect("no panic while it is held"));
    let clips: Vec<Clip> = clips.into_values().collect();
    let square = |(frames, side): &Clip| frames.iter().all(|f| f.len() == 3 * side * side);
    anyhow::ensure!(
        clips.len() == prompts.len() && clips.iter().all(square),
        "the model `{}` makes no square videos",
        args.model
    );
    Ok(clips)
}

/// Eight frames of each video.
fn tiles(clips: &[Clip]) -> Vec<Vec<u8>> {
    let frames = clips.iter().flat_map(|(frames, _)| {
        let last = frames.len().saturating_sub(1);
        (0..8).map(move |i| frames[i * last / 7].clone())
    });
    frames.collect()
}
