//! Writing the parameters of a module under the names of a released checkpoint.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use burn::{
    store::{BurnToPyTorchAdapter, ModuleAdapter, ModuleSnapshot, bridge, burn_pack::Tensor},
    tensor::{DType, TensorData},
};
use safetensors::tensor::{Dtype, TensorView};

use crate::{
    adapt::Layout,
    dtype::WeightDtype,
    error::WeightError,
    rules::{Rule, block_name},
};

/// A tensor about to be written.
struct Written {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The parameters of a module on their way into a `.safetensors` file with other names.
pub struct Export {
    path: PathBuf,
    ours: HashMap<String, Tensor>,
    out: BTreeMap<String, Written>,
    dtype: WeightDtype,
}

impl Export {
    /// All parameters of `module`, to be written to `path` in `layout`.
    pub fn new<M: ModuleSnapshot>(
        module: &M,
        path: &Path,
        layout: Layout,
        dtype: WeightDtype,
    ) -> Self {
        let adapter: Option<Box<dyn ModuleAdapter>> = match layout {
            Layout::Burn => None,
            Layout::PyTorch => Some(Box::new(BurnToPyTorchAdapter)),
        };
        let all = module.collect(None, adapter, true);
        Self {
            path: path.to_owned(),
            ours: all.into_iter().map(|t| (t.name.clone(), t)).collect(),
            out: BTreeMap::new(),
            dtype,
        }
    }

    /// Moves the parameters under `ours` to the names under `official`. Buffers of zeros have `width` elements.
    ///
    /// # Errors
    /// [`WeightError::Write`] if a parameter is missing or cannot be read.
    pub fn add(
        &mut self,
        rules: &[Rule],
        official: &str,
        ours: &str,
        width: usize,
    ) -> Result<(), WeightError> {
        for rule in rules {
            let mut stacked: Option<Written> = None;
            for name in rule.ours {
                let next = self.take(&format!("{ours}{name}"))?;
                stacked = Some(match stacked {
                    Some(mut first) => {
                        first.shape[0] += next.shape[0];
                        first.bytes.extend(next.bytes);
                        first
                    }
                    None => next,
                });
            }
            let tensor = stacked.unwrap_or_else(|| zeros(width, self.dtype));
            let name = format!("{official}{}", rule.official);
            self.out.insert(name, tensor);
        }
        Ok(())
    }

    /// Moves the parameters of `depth` blocks to names in `chunks` chunks, see [`block_name`].
    ///
    /// # Errors
    /// As for [`Export::add`].
    pub fn add_blocks(
        &mut self,
        rules: &[Rule],
        depth: usize,
        chunks: usize,
        width: usize,
    ) -> Result<(), WeightError> {
        for i in 0..depth {
            let official = block_name(i, depth, chunks);
            self.add(rules, &official, &format!("blocks.{i}."), width)?;
        }
        Ok(())
    }

    /// Moves all parameters that are left to the names that `official` gives them.
    ///
    /// # Errors
    /// [`WeightError::Write`] if a parameter cannot be read.
    pub fn add_rest(&mut self, official: impl Fn(&str) -> String) -> Result<(), WeightError> {
        let names: Vec<String> = self.ours.keys().cloned().collect();
        for name in names {
            let tensor = self.take(&name)?;
            self.out.insert(official(&name), tensor);
        }
        Ok(())
    }

    /// Adds a tensor that is not a parameter, in its own number format.
    ///
    /// # Errors
    /// [`WeightError::Write`] if its numbers are neither f32 nor i64.
    pub fn constant(&mut self, official: &str, data: TensorData) -> Result<(), WeightError> {
        let dtype = match data.dtype() {
            DType::I64 => Dtype::I64,
            DType::F32 => Dtype::F32,
            other => return Err(self.fail(format!("{official}: numbers of type {other:?}"))),
        };
        let tensor = Written {
            dtype,
            shape: data.shape().to_vec(),
            bytes: data.as_bytes().to_vec(),
        };
        self.out.insert(official.to_owned(), tensor);
        Ok(())
    }

    /// Writes the file. An existing file is replaced.
    ///
    /// # Errors
    /// [`WeightError::Write`] if a parameter was not added, or the file cannot be written.
    pub fn write(self) -> Result<(), WeightError> {
        let views = self.views()?;
        safetensors::serialize_to_file(views, Some(metadata()), &self.path)
            .map_err(|e| self.fail(e))
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`WeightError::Write`] if a parameter was not added.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightError> {
        safetensors::serialize(self.views()?, Some(metadata())).map_err(|e| self.fail(e))
    }

    fn views(&self) -> Result<Vec<(&str, TensorView<'_>)>, WeightError> {
        if let Some(left) = self.ours.keys().next() {
            return Err(self.fail(format!("no rule for {left}")));
        }
        self.out
            .iter()
            .map(|(name, t)| {
                let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes);
                Ok((name.as_str(), view.map_err(|e| self.fail(e))?))
            })
            .collect()
    }

    /// A parameter of ours in the file's number format.
    fn take(&mut self, ours: &str) -> Result<Written, WeightError> {
        let tensor = self.ours.remove(ours);
        let tensor = tensor.ok_or_else(|| self.fail(format!("no parameter {ours}")))?;
        let data = bridge::into_data(tensor).map_err(|e| self.fail(e))?;
        let data = data.convert_dtype(self.dtype.into());
        Ok(Written {
            dtype: safetensors_dtype(self.dtype),
            shape: data.shape().to_vec(),
            bytes: data.into_bytes().to_vec(),
        })
    }

    fn fail(&self, reason: impl ToString) -> WeightError {
        WeightError::write(&self.path, reason)
    }
}

/// What other programs expect in the header: tensors in PyTorch's layout.
fn metadata() -> HashMap<String, String> {
    [("format".to_owned(), "pt".to_owned())].into()
}

fn safetensors_dtype(dtype: WeightDtype) -> Dtype {
    match dtype {
        WeightDtype::F32 => Dtype::F32,
        WeightDtype::F16 => Dtype::F16,
        WeightDtype::Bf16 => Dtype::BF16,
    }
}

fn zeros(width: usize, dtype: WeightDtype) -> Written {
    Written {
        dtype: safetensors_dtype(dtype),
        shape: vec![width],
        bytes: vec![0; DType::from(dtype).size() * width],
    }
}
