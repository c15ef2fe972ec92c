//! The study: what is trained, and the report.

use std::path::{Path, PathBuf};

use nextscale_models::device;
use nextscale_train::{scales_of_tokenizer, train_tokenizer, train_transformer};

use super::options::{ScalingOptions, VarSize};
use super::plot::{against_compute, against_size};
use crate::error::StudyError;
use crate::recipe::{BATCH, Recipe, Transformer};
use crate::report::{Provenance, Report};
use crate::room::fits;
use crate::runs::{Steps, StudyRun};
use crate::watch::Watch;

/// Side of the images that a tokenizer is trained for.
const SIDE: usize = 32;
/// The sides of its scales.
const SCALES: [usize; 5] = [1, 2, 3, 5, 8];

/// What was measured of held-out images.
pub(super) const MEASURES: [(&str, &str); 4] = [
    ("held_out_tail_loss", "loss, last scale"),
    ("held_out_loss", "loss, all scales"),
    ("held_out_tail_right", "error, last scale"),
    ("held_out_right", "error, all scales"),
];

/// A trained size.
pub(super) struct Curve {
    pub size: VarSize,
    /// For each of [`MEASURES`], its values after so many images.
    pub values: [Vec<(f64, f64)>; 4],
}

impl Curve {
    /// The last value of a measure.
    pub fn last(&self, measure: usize) -> Option<f64> {
        self.values[measure].last().map(|&(_, value)| value)
    }
}

/// Trains all sizes, and writes the report.
///
/// # Errors
/// Fewer than two sizes, data that cannot be used, a folder that cannot be written, a stop on request.
pub fn run(options: &ScalingOptions, watch: Watch<'_>) -> Result<Report, StudyError> {
    let mut sizes = options.sizes.clone();
    sizes.sort_by(|a, b| a.parameters().total_cmp(&b.parameters()));
    sizes.dedup();
    let device = device::open(options.device)?;
    let tokens = SCALES.iter().map(|side| side * side).sum();
    let (sizes, left_out): (Vec<_>, Vec<_>) = sizes
        .into_iter()
        .partition(|size| fits(size.bytes(tokens), &device));
    if sizes.len() < 2 {
        let reason = match left_out.first() {
            None => "a law needs two sizes".to_owned(),
            Some(VarSize { width, depth }) => format!(
                "a law needs two sizes, and {width}x{depth} does not fit the memory: choose smaller ones with --sizes"
            ),
        };
        return Err(StudyError::Nothing { reason });
    }
    let mut steps = Steps::new(watch, sizes.len() + 1);
    let recipe = Recipe {
        data: &options.data,
        seed: options.seed,
    };
    let tokenizer = tokenizer(options, recipe, &mut steps)?;
    let mut curves = vec![];
    for &size in &sizes {
        curves.push(transformer(options, recipe, &tokenizer, size, &mut steps)?);
    }
    let codes = scales_of_tokenizer(&tokenizer)?.tokens();
    let report = report(options, &curves, codes, &left_out);
    report.write(&options.out)?;
    Ok(report)
}

/// The run of the tokenizer.
fn tokenizer(
    options: &ScalingOptions,
    recipe: Recipe<'_>,
    steps: &mut Steps<'_>,
) -> Result<PathBuf, StudyError> {
    if let Some(run) = &options.tokenizer {
        steps.end();
        return Ok(run.clone());
    }
    let config = recipe.tokenizer(SIDE, &SCALES, options.tokenizer_minutes);
    let run = StudyRun::new(&options.out, "tokenizer", config);
    steps.train(&run, "tokenizer", train_tokenizer, options.device)?;
    Ok(run.folder)
}

fn transformer(
    options: &ScalingOptions,
    recipe: Recipe<'_>,
    tokenizer: &Path,
    size: VarSize,
    steps: &mut Steps<'_>,
) -> Result<Curve, StudyError> {
    let name = format!("var-{}x{}", size.width, size.depth);
    let count = options.images.div_ceil(BATCH).max(1);
    let config = recipe.transformer(Transformer {
        kind: "var",
        tokenizer,
        width: size.width,
        depth: size.depth,
        heads: size.width / VarSize::HEAD,
        budget: &format!("steps: {count}"),
        learning_rate: 1.5e-3,
        warmup: (count / 20).clamp(1, 100),
        average: 0.99,
        evaluate: (count / 12).max(1),
    });
    let run = StudyRun::new(&options.out, &name, config);
    steps.train(&run, &name, train_transformer, options.device)?;
    let log = run.log()?;
    let images = |step: f64| step * BATCH as f64;
    let values = MEASURES.map(|(key, name)| {
        let series = log.series(key).into_iter();
        // What is logged is the share that is right.
        let value = |y: f64| {
            if name.starts_with("error") {
                1.0 - y
            } else {
                y
            }
        };
        series.map(|(step, y)| (images(step), value(y))).collect()
    });
    Ok(Curve { size, values })
}

fn report(
    options: &ScalingOptions,
    curves: &[Curve],
    codes: usize,
    left_out: &[VarSize],
) -> Report {
    let device = options.device.to_string();
    Report {
        title: "Scaling laws of VAR".to_owned(),
        question: "The VAR paper finds that test loss and token error fall as power laws of the model's size and of the compute of its training, with Pearson \
                   coefficients of the logarithms near -0.998. Do they at the sizes of this machine?"
            .to_owned(),
        provenance: Provenance::new(&options.command, &device, &[options.seed]),
        sections: vec![against_size(options, curves, left_out), against_compute(curves, codes)],
    }
}
