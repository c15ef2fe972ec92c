//! From PyTorch's layout to ours while a model is filled.

use std::sync::{Arc, Mutex};

use burn::{
    store::{ModuleAdapter, ModuleContext, PyTorchToBurnAdapter, bridge, burn_pack::Tensor},
    tensor::{DType, Shape, TensorData},
};

use super::numbers;

/// How a file lays out the parameters of linear layers and norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As we do.
    Ours,
    /// As PyTorch: matrices are turned, and the parameters of norms have other names.
    PyTorch,
}

/// Brings tensors of a file to our layout and floating-point numbers to one format, in one pass over each; remembers
/// tensors with numbers that are not finite.
#[derive(Clone)]
pub struct Adapt {
    layout: Layout,
    dtype: Option<DType>,
    damaged: Arc<Mutex<Vec<String>>>,
}

impl Adapt {
    /// From this layout. Floating-point numbers are brought to this format; without one they keep that of the file.
    pub fn new(layout: Layout, dtype: Option<DType>) -> Self {
        let damaged = Arc::default();
        Self {
            layout,
            dtype,
            damaged,
        }
    }

    /// The tensors, by our names, that held numbers that are not finite in the wanted format.
    pub fn damaged(&self) -> Vec<String> {
        let names = self.damaged.lock().map(|names| names.clone());
        names.unwrap_or_default()
    }

    fn laid_out(&self, tensor: Tensor, context: ModuleContext<'_>) -> Tensor {
        match self.layout {
            Layout::Ours => tensor,
            Layout::PyTorch => PyTorchToBurnAdapter.adapt(tensor, context),
        }
    }

    fn map(&self, tensor: Tensor, shape: Shape, run: Run) -> Tensor {
        let to = self.dtype.unwrap_or(tensor.dtype);
        let (name, damaged) = (tensor.name.clone(), self.damaged.clone());
        bridge::map_data(tensor, name.clone(), to, shape, move |data| {
            // Only formats for which this is not none come here.
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
            return self.map(tensor, shape, numbers::turn);
        }
        let shape = tensor.shape.clone();
        let tensor = self.map(tensor, shape, numbers::convert);
        self.laid_out(tensor, context)
    }

    fn get_alternative_param_name(&self, name: &str, container: &str) -> Option<String> {
        match self.layout {
            Layout::Ours => None,
            Layout::PyTorch => PyTorchToBurnAdapter.get_alternative_param_name(name, container),
        }
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}
