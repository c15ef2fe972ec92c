//! `nextscale warm-up`: a card compiles the kernels of a model, and chooses among them, before the first image is asked for.
//!
//! The model generates what it would for a user: every size that was asked for, with prompts of several lengths.

mod images;
mod options;
mod prompts;
mod videos;
mod work;

use std::sync::Arc;
use std::time::Instant;

use nextscale_models::device;
use nextscale_models::device::kernel_folder::{kernel_folder, usage};
use nextscale_models::search::SearchPath;
use nextscale_models::{Architecture, Model, Placement};

use self::work::Work;
use crate::error::EvalError;
use crate::random;

pub use self::options::{Progress, Report, Shape, WarmUpOptions};
pub use self::prompts::LENGTHS;

/// Generates once with each size and prompt; none on the CPU, which compiles no kernels.
///
/// # Errors
/// A model or a size that is not there, more memory than the device has, pixels that are not numbers.
pub fn run(
    options: &WarmUpOptions,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Option<Report>, EvalError> {
    let model = Arc::new(open(options)?);
    let sizes = options.shape.sizes(&model)?;
    if options.deterministic {
        device::use_deterministic_kernels()?;
    }
    let placement = Placement::open(options.device, options.dtype)?;
    if !device::is_cuda(&placement.device) {
        return Ok(None);
    }
    let folder = kernel_folder().ok_or(EvalError::NoHome)?;
    let (before, start) = (usage(&folder), Instant::now());
    let mut work = Work::new(options, &sizes, on_progress);
    match model.architecture() {
        Architecture::InfinityStar => videos::run(&model, &placement, &mut work)?,
        Architecture::Infinity | Architecture::Var => images::run(&model, &placement, &mut work)?,
    }
    Ok(Some(Report {
        sizes: sizes.iter().map(|size| [size.width, size.height]).collect(),
        seconds: start.elapsed().as_secs_f64(),
        after: usage(&folder),
        folder,
        before,
    }))
}

fn open(options: &WarmUpOptions) -> Result<Model, EvalError> {
    Ok(if options.random_weights {
        Model::with_random_weights(random::manifest(&options.model)?)?
    } else {
        let search_path = SearchPath::new(options.models_dir.as_deref());
        Model::open_in(&options.model, &search_path)?
    })
}
