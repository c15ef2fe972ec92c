//! Seconds of an image, scale by scale.

use std::sync::Arc;
use std::time::Instant;

use nextscale_models::generator::ImageGenerator;
use nextscale_models::memory::ImageRun;
use nextscale_models::{Manifest, Model, ModelError, Placement};
use nextscale_tokenizer::Scale;
use serde::Serialize;

use super::options::BenchOptions;
use super::statistics::{describe, mib, peak_memory_mib};
use super::subject::{Prompt, Round, Subject};
use crate::error::EvalError;
use crate::metrics::median;

/// What was measured of a model of images; times are medians over the rounds, in seconds.
#[derive(Debug, Serialize)]
pub struct ImageReport {
    /// The model or size.
    pub model: String,
    /// Where it was computed.
    pub device: String,
    /// Number type of the weights.
    pub dtype: String,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Images generated at once.
    pub batch: usize,
    /// Measured rounds.
    pub rounds: usize,
    /// Loading the model.
    pub load: f64,
    /// Encoding the prompts; `None` for classes and random weights.
    pub text: Option<f64>,
    /// Each scale.
    pub scales: Vec<ScaleTime>,
    /// Decoding.
    pub decode: f64,
    /// One batch from prompt to pixels.
    pub total: f64,
    /// The fastest round.
    pub fastest: f64,
    /// The total divided by the batch.
    #[serde(rename = "seconds_a_picture")]
    pub seconds_per_image: f64,
    /// Tokens of all scales and images divided by the time of all scales.
    #[serde(rename = "tokens_a_second")]
    pub tokens_per_second: f64,
    /// Peak resident memory of this process so far, where the system reports it.
    pub peak_memory_mib: Option<f64>,
    /// The most memory of the card that the process held at the end of a scale or of an image.
    pub device_memory_mib: Option<f64>,
}

/// The time of one scale, the device's work included.
#[derive(Debug, Serialize)]
pub struct ScaleTime {
    /// Rows and columns.
    pub grid: [usize; 2],
    /// Median over the rounds.
    pub seconds: f64,
}

/// Measures a model of images.
pub(super) fn run(
    options: &BenchOptions,
    model: &Arc<Model>,
    placement: &Placement,
) -> Result<ImageReport, EvalError> {
    if options.seconds.is_some() || options.frames.is_some() {
        let message = format!("the model `{}` generates images", model.name());
        let hint = "a length is for models of videos";
        return Err(ModelError::refused_with(message, hint).into());
    }
    let start = Instant::now();
    let size = options.size_of(model)?;
    let scales = size.scales.len();
    let shortcuts = options.shortcuts.resolve_for(model, scales);
    let shortcuts = shortcuts.map_err(ModelError::from)?;
    // For this size, which is larger than the model's own one in many runs.
    let run = ImageRun {
        images: options.batch,
        guided: shortcuts.guidance_until,
        shortcuts: shortcuts.of_transformer(),
    };
    let estimate = model.estimate_image(&size, &run, placement)?;
    let estimate = estimate.in_one_thread();
    estimate.reserve_pages(&placement.device, true);
    let generator = ImageGenerator::load(model, placement)?;
    let plan = generator.plan(size.width, size.height)?;
    let plan = plan.with_shortcuts(run.shortcuts);
    let load = start.elapsed().as_secs_f64();
    let mut sampling = model.sampling()?.clone();
    sampling.cfg = options.cfg_scale.unwrap_or(sampling.cfg);
    let subject = Subject {
        prompt: prompt(options, model)?,
        sampling: generator
            .sampling_plan(&sampling, &plan)
            .guided_until(run.guided),
        generator: &generator,
        plan: &plan,
        batch: options.batch,
    };
    let (rounds, card) = subject.rounds(options.warmup, options.rounds)?;
    let median_of = |part: &dyn Fn(&Round) -> f64| median(rounds.iter().map(part));
    let total = median_of(&|round| round.total);
    let grids = &plan.schedule().scales()[..plan.scales()];
    let tokens: usize = grids.iter().map(Scale::tokens).sum();
    let tokens = (tokens * options.batch) as f64;
    Ok(ImageReport {
        model: options.model.clone(),
        device: describe(&placement.device),
        dtype: super::dtype(options.dtype, placement),
        size: [size.width, size.height],
        batch: options.batch,
        rounds: rounds.len(),
        load,
        text: matches!(subject.prompt, Prompt::Text(_)).then(|| median_of(&|round| round.text)),
        scales: scale_times(grids, &rounds),
        decode: median_of(&|round| round.decode),
        total,
        fastest: rounds.iter().map(|r| r.total).fold(f64::INFINITY, f64::min),
        seconds_per_image: total / options.batch as f64,
        tokens_per_second: tokens / median_of(&|round| round.scales.iter().sum()),
        peak_memory_mib: peak_memory_mib(),
        device_memory_mib: card.map(mib),
    })
}

fn scale_times(grids: &[Scale], rounds: &[Round]) -> Vec<ScaleTime> {
    let scales = grids.iter().enumerate();
    scales
        .map(|(k, scale)| ScaleTime {
            grid: [scale.h, scale.w],
            seconds: median(rounds.iter().map(|round| round.scales[k])),
        })
        .collect()
}

fn prompt(options: &BenchOptions, model: &Model) -> Result<Prompt, EvalError> {
    Ok(match model.manifest() {
        Manifest::Var(_) if options.random_weights => Prompt::Class(0),
        Manifest::Var(manifest) => Prompt::Class(manifest.class_names().find(&options.class)?),
        _ if options.random_weights => {
            Prompt::RandomText(model.infinity()?.transformer.text_channels)
        }
        _ => Prompt::Text(options.prompt.clone()),
    })
}
