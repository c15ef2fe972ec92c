//! Seconds of a video: of every pass of the transformer, clip by clip, and of every chunk of the decoder.

use std::sync::Arc;
use std::time::Instant;

use nextscale_models::generator::VideoPlan;
use nextscale_models::{Model, ModelError, Placement};
use serde::Serialize;

use super::clip::{ClipRound, ClipSubject};
use super::options::BenchOptions;
use super::statistics::{describe, mib, peak_memory_mib};
use crate::error::EvalError;
use crate::metrics::median;

/// What was measured of a model of videos; times are medians over the rounds, in seconds.
#[derive(Debug, Serialize)]
pub struct VideoReport {
    /// The model.
    pub model: String,
    /// Where it was computed.
    pub device: String,
    /// Number type of the weights.
    pub dtype: String,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Frames of the video.
    pub frames: usize,
    /// Frames per second when it is played.
    pub fps: usize,
    /// Measured rounds.
    pub rounds: usize,
    /// Loading the model.
    pub load: f64,
    /// Encoding the prompt; `None` for random weights.
    pub text: Option<f64>,
    /// The first frame, for models that take it from a model of images: generating and encoding it.
    pub first_frame: Option<f64>,
    /// The image that a video begins with, and its clips.
    pub clips: Vec<ClipTimes>,
    /// Decoding all clips.
    pub decode: f64,
    /// One video from prompt to pixels.
    pub total: f64,
    /// The fastest round.
    pub fastest: f64,
    /// Frames divided by the total.
    #[serde(rename = "frames_a_second")]
    pub frames_per_second: f64,
    /// Tokens of all passes divided by the time of all passes.
    #[serde(rename = "tokens_a_second")]
    pub tokens_per_second: f64,
    /// Peak resident memory of this process so far, where the system reports it.
    pub peak_memory_mib: Option<f64>,
    /// The most memory of the card that the process held at the end of a pass or a chunk.
    pub device_memory_mib: Option<f64>,
}

/// The times of one clip.
#[derive(Debug, Serialize)]
pub struct ClipTimes {
    /// Each pass of the transformer; those over one grid follow each other.
    pub passes: Vec<PassTime>,
    /// Each chunk of the decoder.
    pub chunks: Vec<ChunkTime>,
}

/// The time of one pass, the device's work included.
#[derive(Debug, Serialize)]
pub struct PassTime {
    /// Latent frames, rows and columns.
    pub grid: [usize; 3],
    /// Median over the rounds.
    pub seconds: f64,
}

/// The time of one chunk of the decoder, the transfer of its pixels included.
#[derive(Debug, Serialize)]
pub struct ChunkTime {
    /// Decoded frames.
    pub frames: usize,
    /// Median over the rounds.
    pub seconds: f64,
}

/// Measures a model of videos.
pub(super) fn run(
    options: &BenchOptions,
    model: &Arc<Model>,
    placement: &Placement,
) -> Result<VideoReport, EvalError> {
    let (plan, frames) = plan(options, model)?;
    let start = Instant::now();
    let subject = ClipSubject::load(model, placement, (plan, frames), options.prompt.clone())?;
    let load = start.elapsed().as_secs_f64();
    let (rounds, card) = subject.rounds(options.warmup, options.rounds)?;
    let median_of = |part: &dyn Fn(&ClipRound) -> f64| median(rounds.iter().map(part));
    let (encodes, starts) = subject.parts();
    let plan = &subject.plan;
    let passes = plan.clips().iter().flat_map(|clip| &clip.passes);
    let tokens: usize = passes.map(|pass| pass.scale.tokens()).sum();
    let total = median_of(&|round| round.total);
    Ok(VideoReport {
        model: options.model.clone(),
        device: describe(&placement.device),
        dtype: super::dtype(options.dtype, placement),
        size: [plan.size.width, plan.size.height],
        frames,
        fps: plan.manifest.fps,
        rounds: rounds.len(),
        load,
        text: encodes.then(|| median_of(&|round| round.text)),
        first_frame: starts.then(|| median_of(&|round| round.first_frame)),
        clips: clip_times(plan, &rounds),
        decode: median_of(&|round| round.chunks.iter().map(|(_, _, seconds)| seconds).sum()),
        total,
        fastest: rounds.iter().map(|r| r.total).fold(f64::INFINITY, f64::min),
        frames_per_second: frames as f64 / total,
        tokens_per_second: tokens as f64 / median_of(&|round| round.passes.iter().sum()),
        peak_memory_mib: peak_memory_mib(),
        device_memory_mib: card.map(mib),
    })
}

/// The plan of the options, and the number of frames.
fn plan(options: &BenchOptions, model: &Model) -> Result<(VideoPlan, usize), EvalError> {
    let mut manifest = model.infinity_star()?.clone();
    if manifest.semantic_scale.is_some() {
        let name = model.name();
        let message = format!("`bench` gives no video that the model `{name}` could continue");
        let hint = "measure infinitystar-8b-480p, whose passes are the same";
        return Err(ModelError::refused_with(message, hint).into());
    }
    if options.batch > 1 {
        let message = "videos are generated one at a time, so --batch must be 1";
        return Err(ModelError::refused(message).into());
    }
    if options.shortcuts.converge.is_some() {
        let message = "`bench` times every pass, and `converge` leaves some out";
        return Err(ModelError::refused_with(message, "measure it with `eval fast`").into());
    }
    let frames = manifest.length(options.seconds, options.frames)?;
    if let Some(scale) = options.cfg_scale {
        manifest.guidance = manifest.guidance.with_scale(scale);
    }
    let size = options.size_of(model)?;
    let shortcuts = options.shortcuts.resolve_video(size.scales.len());
    let shortcuts = shortcuts.map_err(ModelError::from)?;
    let plan = VideoPlan::new(manifest, size, frames)?.with_shortcuts(shortcuts);
    Ok((plan.map_err(ModelError::from)?, frames))
}

fn clip_times(plan: &VideoPlan, rounds: &[ClipRound]) -> Vec<ClipTimes> {
    let mut passes = 0..plan.passes();
    let clips = plan.clips().iter().enumerate();
    clips
        .map(|(index, clip)| ClipTimes {
            passes: clip
                .passes
                .iter()
                .zip(passes.by_ref())
                .map(|(pass, k)| PassTime {
                    grid: [pass.scale.t, pass.scale.h, pass.scale.w],
                    seconds: median(rounds.iter().map(|round| round.passes[k])),
                })
                .collect(),
            chunks: chunk_times(index, rounds),
        })
        .collect()
}

fn chunk_times(clip: usize, rounds: &[ClipRound]) -> Vec<ChunkTime> {
    let Some(first) = rounds.first() else {
        return vec![];
    };
    let chunks = first.chunks.iter().enumerate();
    let chunks = chunks.filter(|(_, (of, ..))| *of == clip);
    chunks
        .map(|(k, &(_, frames, _))| ChunkTime {
            frames,
            seconds: median(rounds.iter().map(|round| round.chunks[k].2)),
        })
        .collect()
}
