//! Exponential moving average of the weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::passes::mixed;

/// A second copy of a module, without autodiff, that follows the trained one:
/// `average = decay * average + (1 - decay) * weights`.
///
/// The decay is warmed up, `min(decay, (1 + n) / (10 + n))` after n updates, so that the average of a short run does not
/// keep the initial values. With a decay of 0 the average is the trained module, and takes no memory of its own.
pub struct WeightAverage<M: Module> {
    module: Option<M>,
    decay: f64,
}

impl<M: Module> WeightAverage<M> {
    /// Starts at the weights of `model`.
    pub fn new(model: &M, decay: f64) -> Self {
        Self {
            module: Some(model.valid()),
            decay,
        }
    }

    /// Starts at a module read from a checkpoint.
    pub fn from_module(module: M, decay: f64) -> Self {
        Self {
            module: Some(module),
            decay,
        }
    }

    /// The average, changed by `change`.
    pub(super) fn map<E>(self, change: impl FnOnce(M) -> Result<M, E>) -> Result<Self, E> {
        let module = self.module.map(change).transpose()?;
        Ok(Self { module, ..self })
    }

    /// The averaged module, for evaluation and export.
    pub fn module(&self) -> &M {
        self.module
            .as_ref()
            .expect("the average is always put back")
    }

    /// Takes one step towards `model`, whose parameters have the same ids.
    pub fn update(&mut self, model: &M, updates: u64) {
        if self.decay == 0.0 {
            // The same tensors, not a copy.
            self.module = Some(model.valid());
            return;
        }
        let n = updates as f64;
        let decay = self.decay.min((1.0 + n) / (10.0 + n));
        let mut weights = Collect(GradientsParams::new());
        model.visit(&mut weights);
        let module = self.module.take().expect("the average is always put back");
        self.module = Some(module.map(&mut Blend {
            weights: weights.0,
            decay,
        }));
    }
}

/// Every weight without its autodiff, keyed by the parameter.
struct Collect(GradientsParams);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register(param.id, param.val().inner());
    }
}

struct Blend {
    weights: GradientsParams,
    decay: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weight = self.weights.remove::<D>(param.id);
        let decay = self.decay;
        match weight {
            Some(weight) => param.map(|average| mixed(average, decay, &weight, 1.0 - decay)),
            None => param,
        }
    }
}
