//! What a weight file of a module has to hold, known from the module alone.

use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Int, Tensor};

/// Names and shapes of all parameters in PyTorch's layout: linear layers are `[output, input]`, and norms have `weight`
/// and `bias`. No parameter is initialised for it.
pub fn shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.found
}

/// Names of all parameters, as in [`shapes`].
pub fn names<M: Module>(module: &M) -> HashMap<ParamId, String> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.names
}

#[derive(Default)]
struct Shapes {
    path: Vec<(String, String)>,
    found: BTreeMap<String, Vec<usize>>,
    names: HashMap<ParamId, String>,
}

impl Shapes {
    fn add(&mut self, id: ParamId, mut shape: Vec<usize>) {
        let mut names: Vec<&str> = self.path.iter().map(|(name, _)| name.as_str()).collect();
        let module = self.path.iter().rev().map(|(_, kind)| kind.as_str());
        let module = module.into_iter().find(|kind| kind.starts_with("Struct:"));
        let name = names.last().copied().unwrap_or_default();
        match module {
            Some("Struct:Linear") if name == "weight" => shape.reverse(),
            Some("Struct:LayerNorm" | "Struct:RmsNorm") => {
                if let Some(name) = names.last_mut() {
                    *name = match *name {
                        "gamma" => "weight",
                        "beta" => "bias",
                        other => other, // a norm of our own
                    };
                }
            }
            _ => {}
        }
        self.found.insert(names.join("."), shape);
        self.names.insert(id, names.join("."));
    }
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.path.push((name.to_owned(), kind.to_owned()));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add(param.id, param.lazy_shape().to_vec());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param.id, param.lazy_shape().to_vec());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param.id, param.lazy_shape().to_vec());
    }
}
