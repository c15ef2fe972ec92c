//! Loss and measurements of a fine-tune.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use burn::optim::GradientsParams;
use nextscale_var_core::train::{Loss, Task, add_gradients};

use super::batches::TunedBatch;
use super::family::{Family, Measured, Ready, Right};
use super::samples::Sampler;
use super::tuned::{TunedModel, Tuning};

/// A model in training.
pub(crate) struct FineTuneTask<F: Family> {
    pub(super) family: F,
    pub(super) weights: Tuning<F::Transformer>,
    /// Held-out examples, as they are.
    pub(super) held_out: Vec<TunedBatch>,
    pub(super) by_block: bool,
    pub(super) sampler: Option<Sampler>,
    /// The share of right codes of each scale, in the last batch.
    pub(super) right: Mutex<Right>,
}

impl<F: Family> Task for FineTuneTask<F> {
    type Model = TunedModel<F::Transformer>;
    type Batch = TunedBatch;

    fn gradients(&self, model: &Self::Model, batch: TunedBatch) -> (Loss, GradientsParams) {
        let mut sum = GradientsParams::new();
        let loss = self.gradients_as_ready(model, batch, &mut |part| {
            add_gradients(model, part, &mut sum);
        });
        (loss, sum)
    }

    fn gradients_as_ready(&self, model: &Self::Model, batch: TunedBatch, ready: Ready<'_>) -> Loss {
        let Measured { result, right } =
            self.family
                .gradients(&self.weights, model, batch, self.by_block, ready);
        *self.right.lock().unwrap_or_else(PoisonError::into_inner) = right;
        result
    }

    /// Loss and shares of right codes of the held-out examples.
    fn evaluate(&self, average: &Self::Model) -> Vec<(String, f64)> {
        let (mut loss, mut right, mut count) = (0.0, 0.0, 0.0);
        let mut scales: Vec<(f64, f64)> = Vec::new();
        for batch in &self.held_out {
            let n = batch.drop.len() as f64;
            let Measured { result, right: own } =
                self.family.measure(&self.weights, average, batch.clone());
            loss += result * n;
            right += own.all * n;
            scales.resize(scales.len().max(own.scales.len()), (0.0, 0.0));
            for ((sum, weight), share) in scales.iter_mut().zip(own.scales) {
                *sum += share * n;
                *weight += n;
            }
            count += n;
        }
        let mut all = vec![
            ("held_out_loss".to_owned(), loss / count),
            ("held_out_right".to_owned(), right / count),
        ];
        let named = scales.into_iter().enumerate();
        all.extend(named.map(|(k, (sum, n))| (format!("held_out_right.{k}"), sum / n)));
        all
    }

    fn measure(&self) -> Vec<(String, f64)> {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let scales = right.scales.iter().enumerate();
        scales
            .map(|(k, right)| (format!("right.{k}"), *right))
            .collect()
    }

    fn sample_every(&self) -> u64 {
        self.sampler
            .as_ref()
            .map_or(0, |sampler| sampler.every_steps())
    }

    fn sample(&self, average: &Self::Model, out: &Path) -> Result<(), String> {
        let Some(sampler) = &self.sampler else {
            return Ok(());
        };
        let model = sampler.model::<F>(&self.weights, average);
        let sheet = model.and_then(|model| sampler.sheet(model, out));
        sheet.map_err(|error| error.to_string())
    }

    fn no_decay(&self) -> &[&str] {
        F::NO_DECAY
    }
}
