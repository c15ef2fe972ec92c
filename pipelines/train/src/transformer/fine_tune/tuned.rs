//! What is trained of a transformer: all of it, or adapters on it.

use burn::module::{Module, ModuleDisplay, ModuleMapper, Param};
use burn::tensor::Tensor;
use nextscale_var_core::blocks::Transformer;
use nextscale_var_core::train::{Adapted, Adapters, Trained, Whole};

/// The parameters of a fine-tune.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // there is one
pub(crate) enum TunedModel<T: Module> {
    /// The whole transformer.
    Whole(T),
    /// Adapters on a frozen one.
    Adapters(Adapters),
}

/// Where the weights of a fine-tuned transformer come from.
#[derive(Debug)]
pub(crate) enum Tuning<T> {
    /// They are trained.
    Whole(Whole<T>),
    /// They are frozen, and adapters are trained.
    Adapted(Adapted<T>),
}

const MIXED: &str = "a model that is trained as a whole has no adapters";

impl<T: Transformer + ModuleDisplay + Sync> Trained<T> for Tuning<T> {
    type Model = TunedModel<T>;

    fn top<'a>(&'a self, model: &'a TunedModel<T>) -> &'a T {
        match (self, model) {
            (Self::Whole(view), TunedModel::Whole(model)) => view.top(model),
            (Self::Adapted(view), TunedModel::Adapters(model)) => view.top(model),
            _ => unreachable!("{MIXED}"),
        }
    }

    fn block(&self, model: &TunedModel<T>, i: usize, recorded: bool) -> T::Block {
        match (self, model) {
            (Self::Whole(view), TunedModel::Whole(model)) => view.block(model, i, recorded),
            (Self::Adapted(view), TunedModel::Adapters(model)) => view.block(model, i, recorded),
            _ => unreachable!("{MIXED}"),
        }
    }

    fn trains_top(&self) -> bool {
        match self {
            Self::Whole(view) => view.trains_top(),
            Self::Adapted(_) => false,
        }
    }
}

/// Freezes the parameters whose names begin with one of `names`; returns how many numbers that are.
pub(crate) fn freeze<M: Module>(model: M, names: &[String]) -> (M, usize) {
    let mut freeze = Freeze {
        path: Vec::new(),
        names,
        frozen: 0,
    };
    let model = model.map(&mut freeze);
    (model, freeze.frozen)
}

struct Freeze<'a> {
    path: Vec<String>,
    names: &'a [String],
    frozen: usize,
}

impl ModuleMapper for Freeze<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let is_in = |name: &String| {
            let rest = path.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if !self.names.iter().any(is_in) {
            return param;
        }
        self.frozen += param.lazy_shape().num_elements();
        param.set_require_grad(false)
    }
}

/// The names of the parts of a module: what stands before the first dot of its parameters' names.
pub(crate) fn parts<M: Module>(model: &M) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for path in nextscale_weights::names(model).into_values() {
        let name = path.split('.').next().unwrap_or_default();
        if !parts.iter().any(|part| part == name) {
            parts.push(name.to_owned());
        }
    }
    parts.sort();
    parts
}
