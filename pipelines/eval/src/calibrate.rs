//! `nextscale calibrate`: which layers of a model need a large cache of keys and values.
//!
//! Images are generated with all keys and values, and attention is measured in each layer and at each scale: how much of it stays if, of the
//! earlier tokens, each head keeps the tenth that it attends to most. Layers in which the least stays become drafters.

use std::sync::Arc;

use nextscale_models::cache_index::CacheIndex;
use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_models::generator::{ImageGenerator, ImageInput};
use nextscale_models::{Model, ModelError};

use crate::conditions::conditions;
use crate::error::EvalError;
use crate::measure::{OnProgress, open};

/// What to measure.
#[derive(Debug, Clone)]
pub struct CalibrateOptions {
    /// The model: a name or a folder.
    pub model: String,
    /// Prompts, in turn; classes for a class-conditional model. If there are none, some everyday things, or all classes.
    pub prompts: Vec<String>,
    /// Number of images, at least 1; each adds 1 to the seed.
    pub count: usize,
    /// Seed of the first image.
    pub seed: u64,
    /// Width and height in pixels; the model's default size if absent.
    pub size: Option<[usize; 2]>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the transformer's weights.
    pub dtype: Dtype,
    /// Fix which kernels a card takes.
    pub deterministic: bool,
}

/// Generates all images and sorts the layers of the model.
///
/// # Errors
/// The model cannot be used, edits images by instruction, or has a single scale.
pub fn run(options: &CalibrateOptions, progress: OnProgress<'_>) -> Result<CacheIndex, EvalError> {
    let model = Arc::new(Model::open(&options.model)?);
    let placement = open(options.device, options.dtype, options.deterministic)?;
    let size = match options.size {
        Some([width, height]) => model.size(width, height)?,
        None => model.default_size()?,
    };
    let generator = ImageGenerator::load(&model, &placement)?;
    let plan = generator.plan(size.width, size.height)?;
    if plan.edits() || plan.scales() < 2 {
        let message = format!(
            "the model `{}` takes no cache budget: it edits an image by instruction, or has a single scale",
            model.name()
        );
        return Err(ModelError::refused(message).into());
    }
    let conditions = conditions(&generator, &options.prompts)?;
    let sampling = generator.sampling_plan(model.sampling()?, &plan);
    let mut sums = vec![vec![0.0; plan.scales() - 1]; model.depth()];
    for index in 0..options.count {
        let seed = options.seed.wrapping_add(index as u64);
        let condition = conditions[index % conditions.len()].clone();
        let input = ImageInput {
            measure_attention: true,
            ..ImageInput::new(condition, vec![seed], sampling.clone())
        };
        let mut steps = generator.run(&plan, input)?;
        while steps.next().is_some() {}
        let measured = steps.selectivity().unwrap_or_default();
        for (sums, values) in sums.iter_mut().zip(measured) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value / options.count as f64;
            }
        }
        progress(index + 1, options.count);
    }
    let scales = plan.schedule().scales().iter();
    let scales = scales.map(|scale| [scale.h, scale.w]).collect();
    Ok(CacheIndex::new(&model, scales, options.count, sums))
}
