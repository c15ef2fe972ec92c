//! `nextscale eval motion`: does the sprite of a video do what its prompt says?
//!
//! The middle, size, angle and mass of what stands in front of the background are tracked through every video, and the
//! motion whose course is nearest to the tracked one is what was seen. Guessing finds 1 of 13.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use crate::common::{progress, write_json};
use crate::tracking::{recognise, track};
use nextscale_data::{Motion, Pose};
use nextscale_models::bundle::SPRITES;
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

/// Arguments of `nextscale eval motion`.
#[derive(Debug, clap::Args)]
pub struct MotionArgs {
    /// The video model: `sprites` for the one inside this program, or a folder
    #[arg(long, value_name = "NAME|PATH", default_value = SPRITES)]
    model: String,
    /// Prompts
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = crate::common::at_least_one())]
    count: usize,
    /// Seed of the videos
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How strongly the prompt counts; 1 turns guidance off [default: the model's]
    #[arg(long)]
    cfg_scale: Option<f64>,
    /// Above 1 more varied, below 1 more likely; 0 always takes the likeliest [default: the model's]
    #[arg(long)]
    temperature: Option<f64>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a contact sheet: eight frames of each video, two videos a row
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    seed: u64,
    prompts: usize,
    /// Share of videos in which the motion of the prompt was seen.
    right: f64,
    /// Share in which at least its kind was: a slide, a turn, a change of size, whatever its direction.
    right_kind: f64,
    /// Videos and right ones of each motion.
    motions: BTreeMap<String, [usize; 2]>,
    videos: Vec<Video>,
}

/// One video.
#[derive(Debug, Serialize)]
struct Video {
    prompt: String,
    seen: &'static str,
    /// The tracked pose at the end: right, down (parts of the side), size, angle (degrees), share of its mass.
    end: [f32; 5],
    /// How far the tracked course is from that of the motion that was seen.
    distance: f32,
}

/// Frames of a video as RGB bytes, and their side.
type Clip = (Vec<Vec<u8>>, usize);

/// Runs `nextscale eval motion`.
///
/// # Errors
/// When the model can't be used, its frames are not square, or a file can't be written.
pub fn run(args: &MotionArgs) -> anyhow::Result<()> {
    let prompts: Vec<(String, Motion)> = (0..args.count)
        .map(|i| {
            let motion = Motion::ALL[i % Motion::ALL.len()];
            let thing = THINGS[i % THINGS.len()];
            (format!("{thing} {}", motion.name()), motion)
        })
        .collect();
    let clips = videos(args, &prompts)?;
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
    println!(
        "{} of {} videos move as their prompt says ({:.1} %), {:.1} % are of the right kind",
        (report.right * prompts.len() as f64).round(),
        prompts.len(),
        100.0 * report.right,
        100.0 * report.right_kind
    );
    for (motion, [all, right]) in &report.motions {
        println!("  {motion}: {right} of {all}");
    }
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    match &args.sheet {
        Some(path) => sheet(&clips, path),
        None => Ok(()),
    }
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
fn videos(args: &MotionArgs, prompts: &[(String, Motion)]) -> anyhow::Result<Vec<Clip>> {
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
    let bar = progress(prompts.len());
    let clips: Arc<Mutex<BTreeMap<usize, Clip>>> = Arc::default();
    let (kept, shown) = (Arc::clone(&clips), bar.clone());
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
            shown.inc(1);
        }
    };
    Pipeline::new(spec)?.run_blocking(Cancel::default(), Arc::new(observer))?;
    bar.finish_and_clear();
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

fn sheet(clips: &[Clip], path: &std::path::Path) -> anyhow::Result<()> {
    let side = clips.first().map_or(1, |(_, side)| *side);
    let tiles = clips.iter().flat_map(|(frames, _)| {
        let last = frames.len().saturating_sub(1);
        (0..8).map(move |i| frames[i * last / 7].clone())
    });
    let tiles: Vec<Vec<u8>> = tiles.collect();
    nextscale_data::contact_sheet::save(&tiles, side, 16, path)
        .with_context(|| format!("cannot write {}", path.display()))
}
