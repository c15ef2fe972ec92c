//! What is trained: a model, a batch and a loss.

use std::borrow::Cow;
use std::path::Path;

use burn::module::Module;
use burn::optim::GradientsParams;
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

impl Loss {
    /// The loss without autodiff, and the gradients of what is trained.
    pub fn gradients<M: Module>(self, model: &M) -> (Self, GradientsParams) {
        let gradients = GradientsParams::from_grads(self.total.backward(), model);
        (self.detached(), gradients)
    }

    /// The same numbers without autodiff.
    #[must_use]
    pub fn detached(self) -> Self {
        let plain = |value: Tensor<1>| {
            if value.is_autodiff() {
                value.inner()
            } else {
                value
            }
        };
        let parts = self.parts.into_iter();
        Self {
            total: plain(self.total),
            parts: parts.map(|(name, v)| (name, plain(v))).collect(),
            examples: self.examples,
        }
    }
}

/// A network inside a model that is trained next to the rest of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// The field of the model.
    pub field: &'static str,
    /// Factor on the learning rate.
    pub rate: f64,
}

/// What to train.
pub trait Task: Sync {
    /// Everything that is trained, as one module.
    type Model: Module;
    /// What [`Batches`](super::Batches) makes.
    type Batch: Send + 'static;

    /// The loss of a batch, without autodiff, and its gradients: those of [`Loss::gradients`], unless a task computes them in
    /// another way. `model` is on an autodiff device.
    fn gradients(&self, model: &Self::Model, batch: Self::Batch) -> (Loss, GradientsParams);

    /// As [`gradients`](Self::gradients), but hands the gradients over in parts, as soon as each is computed. A parameter may be in
    /// several parts, whose sum is its gradient.
    fn gradients_as_ready(
        &self,
        model: &Self::Model,
        batch: Self::Batch,
        ready: &mut dyn FnMut(GradientsParams),
    ) -> Loss {
        let (loss, gradients) = self.gradients(model, batch);
        ready(gradients);
        loss
    }

    /// What the batches of this step left in the task, for the tasks of other processes: empty if nothing.
    fn traces(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Replaces what the batches of this step left in the task by the [`traces`](Self::traces) of all processes, in their order.
    fn receive_traces(&self, _all: Vec<Vec<u8>>) {}

    /// A network that is clipped on its own and learns at a rate of its own, such as a discriminator. The norm of its gradients is
    /// logged as `FIELD_gradient_norm`.
    fn apart(&self) -> Option<Apart> {
        None
    }

    /// The part of the model that is averaged, evaluated and exported.
    fn averaged<'a>(&self, model: &'a Self::Model) -> Cow<'a, Self::Model> {
        Cow::Borrowed(model)
    }

    /// Measurements on held-out data with the averaged weights, without autodiff.
    fn evaluate(&self, _average: &Self::Model) -> Vec<(String, f64)> {
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

    /// Steps between two sheets of samples; 0 for none.
    fn sample_every(&self) -> u64 {
        0
    }

    /// Writes a sheet of samples of the averaged weights as PNG.
    ///
    /// # Errors
    /// Why it cannot be made.
    fn sample(&self, _average: &Self::Model, _out: &Path) -> Result<(), String> {
        Ok(())
    }

    /// Parts of the paths of parameters without weight decay, in addition to biases and vectors.
    fn no_decay(&self) -> &[&str] {
        &[]
    }
}
