//! The study: what is trained, and the report.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use nextscale_train::{scales_of_tokenizer, train_tokenizer, train_transformer};

use super::options::{ScalingOptions, VarSize};
use super::plot::{against_compute, against_size};
use super::recipe;
use crate::error::StudyError;
use crate::report::{Provenance, Report};
use crate::runs::StudyRun;
use crate::watch::{Event, Watch};

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
    if sizes.len() < 2 {
        let reason = "a law needs two sizes".to_owned();
        return Err(StudyError::Nothing { reason });
    }
    let mut steps = Steps {
        watch,
        done: 0,
        all: sizes.len() + 1,
    };
    let tokenizer = steps.tokenizer(options)?;
    let mut curves = vec![];
    for &size in &sizes {
        curves.push(steps.transformer(options, &tokenizer, size)?);
    }
    let codes = scales_of_tokenizer(&tokenizer)?.tokens();
    let report = report(options, &curves, codes);
    report.write(&options.out)?;
    Ok(report)
}

/// The runs, one after the other.
struct Steps<'a> {
    watch: Watch<'a>,
    done: usize,
    all: usize,
}

impl Steps<'_> {
    fn train(
        &mut self,
        run: &StudyRun,
        name: &str,
        options: &ScalingOptions,
        is_tokenizer: bool,
    ) -> Result<(), StudyError> {
        let (done, all) = (self.done, self.all);
        let stop: &AtomicBool = self.watch.stop;
        let observe = &mut *self.watch.observe;
        let mut on_step = |progress: f64, loss: f64| {
            let what = format!("{name}, {:.0} %, loss {loss:.3}", 100.0 * progress);
            let what = &what;
            observe(Event { what, done, all });
        };
        on_step(0.0, f64::NAN);
        let train = if is_tokenizer {
            train_tokenizer
        } else {
            train_transformer
        };
        run.train(train, options.device, stop, &mut on_step)?;
        self.done += 1;
        Ok(())
    }

    /// The run of the tokenizer.
    fn tokenizer(&mut self, options: &ScalingOptions) -> Result<PathBuf, StudyError> {
        if let Some(run) = &options.tokenizer {
            self.done += 1;
            return Ok(run.clone());
        }
        let run = StudyRun::new(&options.out, "tokenizer", recipe::tokenizer(options));
        self.train(&run, "tokenizer", options, true)?;
        Ok(run.folder)
    }

    fn transformer(
        &mut self,
        options: &ScalingOptions,
        tokenizer: &std::path::Path,
        size: VarSize,
    ) -> Result<Curve, StudyError> {
        let name = format!("var-{}x{}", size.width, size.depth);
        let config = recipe::transformer(options, tokenizer, size);
        let run = StudyRun::new(&options.out, &name, config);
        self.train(&run, &name, options, false)?;
        let log = run.log()?;
        let images = |step: f64| step * recipe::BATCH as f64;
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
}

fn report(options: &ScalingOptions, curves: &[Curve], codes: usize) -> Report {
    let device = options.device.to_string();
    Report {
        title: "Scaling laws of VAR".to_owned(),
        question: "The VAR paper finds that test loss and token error fall as power laws of the model's size and of the compute of its training, with Pearson \
                   coefficients of the logarithms near -0.998. Do they at the sizes of this machine?"
            .to_owned(),
        provenance: Provenance::new(&options.command, &device, &[options.seed]),
        sections: vec![against_size(options, curves), against_compute(curves, codes)],
    }
}
