//! AdamW with a decaying and a non-decaying group, and Muon for the matrices where it is chosen.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::store::RecordError;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::adamw::{DecayFactor, ParameterAdamW};
use super::moments::MomentFormat;
use super::muon::{MuonConfig, ParameterMuon, Waiting};

/// Hyper-parameters of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f32,
    /// The weight decay at the end of the run, which is approached along half a cosine; as at the start if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay_end: Option<f32>,
    /// The global gradient norm is clipped to this; 0 turns clipping off.
    pub clip_norm: f32,
    /// Number format of the moments in memory and in checkpoints.
    pub states: MomentFormat,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.97,
            epsilon: 1e-8,
            weight_decay: 0.005,
            weight_decay_end: None,
            clip_norm: 5.0,
            states: MomentFormat::F32,
        }
    }
}

impl AdamWConfig {
    /// The weight decay at `position` (0..=1) of the run, as a share of that at the start (`lr_wd_annealing` of the reference's
    /// trainers).
    pub(super) fn decay_at(&self, position: f64) -> f64 {
        match self.weight_decay_end {
            Some(end) if self.weight_decay != 0.0 => {
                let end = f64::from(end) / f64::from(self.weight_decay);
                end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * position).cos())
            }
            _ => 1.0,
        }
    }
}

/// AdamW over a module, or over the part of it that Muon leaves. Biases, vectors (at most one dimension larger than 1) and the parameters that a task names
/// (embeddings, learned queries) have no weight decay.
pub struct AdamW {
    config: AdamWConfig,
    decay_factor: DecayFactor,
    inner: ModuleOptimizer,
    /// Updates of matrices by Muon, within a step.
    waiting: Waiting,
}

impl AdamW {
    /// An optimiser without state for `model`. Parameters whose path contains one of `no_decay` have no weight decay.
    pub fn new<M: Module>(config: &AdamWConfig, model: &M, no_decay: &[&str]) -> Self {
        let decay_factor = DecayFactor::new();
        let plain = ParameterAdamW {
            config: *config,
            weight_decay: 0.0,
            rate_factor: 1.0,
            decay_factor: decay_factor.clone(),
        };
        let decaying = ParameterAdamW {
            weight_decay: config.weight_decay,
            ..plain.clone()
        };
        let group = ParamGroup::from_ids(ids(model, no_decay, |at| at.decays));
        Self {
            config: *config,
            decay_factor,
            inner: ModuleOptimizer::from(plain).with_group(group, decaying, None),
            waiting: Waiting::default(),
        }
    }

    /// The same optimiser, but Muon updates the hidden matrices of `model`: those that have weight decay, except layers that read
    /// inputs or write outputs. `no_decay` is that of [`new`](Self::new).
    #[must_use]
    pub fn with_muon<M: Module>(mut self, muon: MuonConfig, model: &M, no_decay: &[&str]) -> Self {
        for id in ids(model, no_decay, |at| at.decays && at.is_hidden()) {
            let muon = ParameterMuon {
                config: muon,
                weight_decay: f64::from(self.config.weight_decay),
                decay_factor: self.decay_factor.clone(),
                id,
                waiting: self.waiting.clone(),
            };
            let group = ParamGroup::from_ids(vec![id]);
            self.inner = self.inner.with_group(group, muon, None);
        }
        self
    }

    /// The same optimiser, but the field `field` of `model` learns at `factor` times the learning rate. `no_decay` is that of
    /// [`new`](Self::new).
    #[must_use]
    pub fn with_rate<M: Module>(
        mut self,
        model: &M,
        field: &str,
        factor: f64,
        no_decay: &[&str],
    ) -> Self {
        let plain = ParameterAdamW {
            config: self.config,
            weight_decay: 0.0,
            rate_factor: factor,
            decay_factor: self.decay_factor.clone(),
        };
        let decaying = ParameterAdamW {
            weight_decay: self.config.weight_decay,
            ..plain.clone()
        };
        let within = ids(model, no_decay, |at| at.is_in(field));
        let decays = ids(model, no_decay, |at| at.is_in(field) && at.decays);
        self.inner = self
            .inner
            .with_group(ParamGroup::from_ids(within), plain, None)
            .with_group(ParamGroup::from_ids(decays), decaying, None);
        self
    }

    /// One update at `position` (0..=1) of the run. The module is moved in and out, so that no copy of the
    /// weights is kept.
    pub fn step<M: Module>(
        &mut self,
        rate: f64,
        position: f64,
        model: M,
        gradients: GradientsParams,
    ) -> M {
        self.decay_factor.set(self.config.decay_at(position));
        let model = self.inner.step(rate, model, gradients);
        self.waiting.apply(model)
    }

    /// Writes the moments of every parameter.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RecordError> {
        self.inner.save(path)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(self, path: &Path) -> Result<Self, RecordError> {
        Ok(Self {
            inner: self.inner.load(path)?,
            ..self
        })
    }
}

/// A parameter in a module.
struct Place<'a> {
    path: &'a [String],
    /// Whether weight decay applies to it.
    decays: bool,
    /// Whether it has rows and columns.
    matrix: bool,
}

/// Parts of the names of layers that read inputs or write outputs, in every model here.
const ENDS: [&str; 4] = ["conv_in", "conv_out", "embed", "head"];

impl Place<'_> {
    /// Whether it is a matrix between hidden layers.
    fn is_hidden(&self) -> bool {
        let at_an_end = |name: &String| ENDS.iter().any(|end| name.contains(end));
        self.matrix && !self.path.iter().any(at_an_end)
    }

    /// Whether it is in the field `field` of the module.
    fn is_in(&self, field: &str) -> bool {
        self.path.first().is_some_and(|name| name == field)
    }
}

/// Collects parameters by their places.
struct Walk<'a, F> {
    path: Vec<String>,
    no_decay: &'a [&'a str],
    takes: F,
    ids: Vec<ParamId>,
}

/// The parameters of `model` that `takes` accepts; those whose path contains one of `no_decay` have no weight decay.
fn ids<M: Module>(model: &M, no_decay: &[&str], takes: impl Fn(&Place) -> bool) -> Vec<ParamId> {
    let mut walk = Walk {
        path: Vec::new(),
        no_decay,
        takes,
        ids: Vec::new(),
    };
    model.visit(&mut walk);
    walk.ids
}

impl<F: Fn(&Place) -> bool> ModuleVisitor for Walk<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let shape = param.lazy_shape();
        let vector = shape.iter().filter(|&&n| n > 1).count() <= 1;
        let bias = self.path.last().is_some_and(|name| name.ends_with("bias"));
        let named = self.no_decay.iter().any(|name| path.contains(name));
        let place = Place {
            path: &self.path,
            decays: !(vector || bias || named),
            matrix: D > 1 && shape[0] > 1 && shape.num_elements() > shape[0],
        };
        if (self.takes)(&place) {
            self.ids.push(param.id);
        }
    }
}
