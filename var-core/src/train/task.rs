//! What is trained: a model, a batch and a loss.

use burn::module::Module;
use burn::tensor::Tensor;

/// A loss and its measurements.
pub struct Loss {
    /// The value to minimise, `[1]`.
    pub total: Tensor<1>,
    /// Parts and measurements to log, `[1]` each. They are read only at logged steps.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    /// Examples in the batch.
    pub examples: usize,
}

/// What to train.
pub trait Task: Sync {
    /// Everything that is trained, as one module.
    type Model: Module;
    /// What [`Batches`](super::Batches) makes.
    type Batch: Send + 'static;

    /// The loss of a batch; `model` is on an autodiff device.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Loss;

    /// Measurements on held-out data with the averaged weights, without autodiff.
    fn evaluate(&self, _average: &Self::Model) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Changes the model after optimiser step `step` (from 0); `progress` (0..=1) of the budget was spent before it.
    fn after_step(&self, model: Self::Model, _step: u64, _progress: f64) -> Self::Model {
        model
    }

    /// Measurements of the run, for every line of the log. Names with a dot are details.
    fn measure(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// The state that the task has gathered over the steps, as JSON. It is saved in checkpoints.
    fn state(&self) -> Option<String> {
        None
    }

    /// Restores the [`state`](Self::state) of a checkpoint.
    ///
    /// # Errors
    /// If it is damaged or of another model.
    fn restore_state(&self, _state: &str) -> Result<(), serde_json::Error> {
        Ok(())
    }

    /// Parts of the paths of parameters without weight decay, in addition to biases and vectors.
    fn no_decay(&self) -> &[&str] {
        &[]
    }
}
