//! The images of a model, one after the other, as `nextscale generate` makes them.

use std::sync::Arc;

use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_models::generator::ImageGenerator;
use nextscale_models::{Manifest, Model, Request};

use crate::error::EvalError;
use crate::measure::{OnProgress, open};
use crate::scores::set::Batch;

/// Images that a model generates.
#[derive(Debug, Clone)]
pub struct ModelSet {
    /// The model: a name or a folder.
    pub model: String,
    /// Number of images.
    pub count: usize,
    /// Seed of the first image; the next ones count up.
    pub seed: u64,
    /// Prompts, or classes by name or number, which take turns; of a class-conditional model all classes if there are none.
    pub conditions: Vec<String>,
    /// Guidance scale; the model's if absent.
    pub cfg_scale: Option<f64>,
    /// Temperature; the model's if absent.
    pub temperature: Option<f64>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the transformer's weights.
    pub dtype: Dtype,
}

impl ModelSet {
    /// Calls `each` with all images.
    pub(super) fn generate(
        &self,
        batch: usize,
        progress: OnProgress<'_>,
        each: &mut dyn FnMut(Batch<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let model = Arc::new(Model::open(&self.model)?);
        let conditions = self.conditions(&model)?;
        let generator = ImageGenerator::load(&model, &open(self.device, self.dtype, false)?)?;
        let mut done = 0;
        while done < self.count {
            let now = batch.min(self.count - done);
            let (mut images, mut prompts) = (Vec::new(), Vec::new());
            for index in done..done + now {
                let condition = &conditions[index % conditions.len()];
                images.push(generator.generate(&self.request(&model, condition, index))?);
                prompts.push(condition.clone());
                progress(index + 1, self.count);
            }
            done += now;
            each(Batch {
                images,
                files: &[],
                prompts: &prompts,
            })?;
        }
        Ok(())
    }

    fn request(&self, model: &Model, condition: &str, index: usize) -> Request {
        let request = match model.manifest() {
            Manifest::Var(_) => Request::class(condition),
            _ => Request::prompt(condition),
        };
        let mut request = request.seed(self.seed.wrapping_add(index as u64));
        if let Some(scale) = self.cfg_scale {
            request = request.cfg_scale(scale);
        }
        if let Some(temperature) = self.temperature {
            request = request.temperature(temperature);
        }
        request
    }

    /// What is generated, at least one.
    fn conditions(&self, model: &Model) -> Result<Vec<String>, EvalError> {
        match model.manifest() {
            Manifest::Var(manifest) if self.conditions.is_empty() => {
                let classes = 0..manifest.transformer.classes;
                Ok(classes.map(|class| class.to_string()).collect())
            }
            _ if self.conditions.is_empty() => Err(EvalError::NoPrompt),
            _ => Ok(self.conditions.clone()),
        }
    }
}
