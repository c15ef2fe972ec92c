//! From PyTorch's layout to burn's while a module is filled.

use std::sync::{Arc, Mutex};

use burn::{
    store::{ModuleAdapter, ModuleContext, PyTorchToBurnAdapter, bridge, burn_pack::Tensor},
    tensor::{DType, Shape, TensorData},
};

use crate::convert;

/// How the parameters of linear layers and norms are laid out and named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As in burn: linear layers are `[input, output]`, norms have `gamma` and `beta`.
    Burn,
    /// As in PyTorch: linear layers are `[output, input]`, norms have `weight` and `bias`.
    PyTorch,
}

/// Converts tensors of a file to burn's layout and to one floating-point format, in one pass over each. Tensors with
/// numbers that are not finite are recorded.
#[derive(Clone)]
pub(crate) struct Adapt {
    layout: Layout,
    dtype: Option<DType>,
    damaged: Arc<Mutex<Vec<String>>>,
}

impl Adapt {
    /// Converts from `layout`, and floating-point tensors to `dtype`; without it they keep the format of the file.
    pub fn new(layout: Layout, dtype: Option<DType>) -> Self {
        let damaged = Arc::default();
        Self {
            layout,
            dtype,
            damaged,
        }
    }

    /// The tensors, by our names, with numbers that are not finite in the wanted format.
    pub fn damaged(&self) -> Vec<String> {
        let names = self.damaged.lock().map(|names| names.clone());
        names.unwrap_or_default()
    }

    fn laid_out(&self, tensor: Tensor, context: ModuleContext<'_>) -> Tensor {
        match self.layout {
            Layout::Burn => tensor,
            Layout::PyTorch => PyTorchToBurnAdapter.adapt(tensor, context),
        }
    }

    fn map(&self, tensor: Tensor, shape: Shape, run: Run) -> Tensor {
        let to = self.dtype.unwrap_or(tensor.dtype);
        let (name, damaged) = (tensor.name.clone(), self.damaged.clone());
        bridge::map_data(tensor, name.clone(), to, shape, move |data| {
            // `adapt` passes only formats that `run` knows.
            let Some((data, finite)) = run(&data, to) else {
                return data.convert_dtype(to);
            };
            if !finite && let Ok(mut names) = damaged.lock() {
                names.push(name.clone());
            }
            data
        })
    }
}

type Run = fn(&TensorData, DType) -> Option<(TensorData, bool)>;

impl ModuleAdapter for Adapt {
    fn adapt(&self, tensor: Tensor, context: ModuleContext<'_>) -> Tensor {
        if !matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16) {
            let tensor = self.laid_out(tensor, context);
            return match self.dtype {
                Some(_) if tensor.dtype.is_float() => {
                    let shape = tensor.shape.clone();
                    self.map(tensor, shape, |data, to| {
                        Some((data.clone().convert_dtype(to), true))
                    })
                }
                _ => tensor,
            };
        }
        let linear =
            self.layout == Layout::PyTorch && context.module_type() == Some("Struct:Linear");
        if linear && tensor.name.ends_with("weight") && tensor.shape.len() == 2 {
            let shape = Shape::new([tensor.shape[1], tensor.shape[0]]);
            return self.map(tensor, shape, convert::transpose);
        }
        let shape = tensor.shape.clone();
        let tensor = self.map(tensor, shape, convert::convert);
        self.laid_out(tensor, context)
    }

    fn get_alternative_param_name(&self, name: &str, container: &str) -> Option<String> {
        match self.layout {
            Layout::Burn => None,
            Layout::PyTorch => PyTorchToBurnAdapter.get_alternative_param_name(name, container),
        }
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}
