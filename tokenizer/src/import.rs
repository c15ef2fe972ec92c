//! Weights of tokenizers in files, under the official names: reading, strictly, and writing.

mod adapt;
mod archive;
pub mod numbers;
mod shapes;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use burn::{
    store::{
        FloatCastAdapter, KeyRemapper, ModuleSnapshot, ModuleStore, PytorchStore, SafetensorsStore,
        burn_pack::Tensor as FileTensor,
    },
    tensor::DType,
};
use tempfile::TempPath;
use thiserror::Error;

pub use adapt::{Adapt, Layout};
pub use shapes::shapes;

/// Why weights could not be read or written.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file could not be read or written, or is damaged.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What the reader or writer said.
        message: String,
    },
    /// The file's tensors are not this model's.
    #[error("{path} does not fit the model: {}", list(.missing, .unused, .wrong))]
    Mismatch {
        /// The file.
        path: String,
        /// Tensors the model has and the file lacks.
        missing: Vec<String>,
        /// Tensors the file has and the model lacks.
        unused: Vec<String>,
        /// Tensors of another shape or kind, with both.
        wrong: Vec<String>,
    },
    /// Some numbers are none.
    #[error("{path} is damaged: {} no finite numbers (NaN or infinite)", damaged(.tensors))]
    Numbers {
        /// The file.
        path: String,
        /// The tensors.
        tensors: Vec<String>,
    },
}

/// The beginning of a sentence about tensors: the first of them, how many more, and a verb.
pub fn damaged(tensors: &[String]) -> String {
    let first = tensors.first().map_or("?", String::as_str);
    match tensors.len() {
        0 | 1 => format!("`{first}` holds"),
        n => format!("`{first}` and {} more tensors hold", n - 1),
    }
}

fn list(missing: &[String], unused: &[String], wrong: &[String]) -> String {
    let parts = [("missing", missing), ("unused", unused), ("wrong", wrong)];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<_> = parts
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    parts.join("; ")
}

impl WeightsError {
    /// What went wrong with a file.
    pub fn file(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::File {
            path: path.display().to_string(),
            message: error.to_string(),
        }
    }
}

/// The number format of a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileDType {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
}

impl FileDType {
    /// The tensor library's word for it.
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }
}

/// The tensors of a file by name, read when they are asked for, and as long as this lives.
#[derive(Clone)]
pub struct Opened {
    /// The tensors.
    pub tensors: BTreeMap<String, FileTensor>,
    /// What they are read from, where it is a copy of the file.
    pub copy: Option<KeptCopy>,
}

/// A copy of a file, which is removed when the last of whoever reads it is gone.
#[derive(Clone)]
pub struct KeptCopy(#[allow(dead_code)] Arc<TempPath>);

impl Opened {
    /// Opens a `.safetensors` file (memory-mapped) or a PyTorch file (any other name), whose tensors lie under the key
    /// `wrapper` if one is given.
    ///
    /// # Errors
    /// What the reader said, if the file cannot be read.
    pub fn new(path: &Path, wrapper: Option<&str>) -> Result<Self, String> {
        if path.extension().is_some_and(|e| e == "safetensors") {
            let mut store = SafetensorsStore::from_file(path);
            let tensors = store.get_all_tensors().map_err(|e| e.to_string())?;
            let (tensors, copy) = (tensors.clone(), None);
            return Ok(Self { tensors, copy });
        }
        let copy = archive::repaired(path).map_err(|e| e.to_string())?;
        let file = copy.as_deref().unwrap_or(path);
        let mut store = PytorchStore::from_file(file).map_indices_contiguous(false);
        if let Some(key) = wrapper {
            store = store.with_top_level_key(key);
        }
        let tensors = store.get_all_tensors().map_err(|e| e.to_string())?.clone();
        let copy = copy.map(|path| KeptCopy(Arc::new(path)));
        Ok(Self { tensors, copy })
    }
}

/// Tensors of a file, read when a module takes them.
pub struct Tensors {
    all: Vec<FileTensor>,
    /// What they are read from, where it is a copy of the file.
    copy: Option<KeptCopy>,
}

impl Tensors {
    /// Opens a `.safetensors` file (memory-mapped) or a PyTorch file (any other name), whose tensors lie under the key
    /// `wrapper` if one is given.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn open(path: &Path, wrapper: Option<&str>) -> Result<Self, WeightsError> {
        let opened = Opened::new(path, wrapper).map_err(|e| WeightsError::file(path, e))?;
        let (all, copy) = (opened.tensors.into_values().collect(), opened.copy);
        Ok(Self { all, copy })
    }

    /// Reads the bytes of a `.safetensors` file.
    ///
    /// # Errors
    /// If they are no such file.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let mut store = SafetensorsStore::from_bytes(Some(bytes));
        let tensors = store.get_all_tensors().cloned();
        let tensors = tensors.map_err(|e| WeightsError::file(Path::new(IN_MEMORY), e))?;
        let all = tensors.into_values().collect();
        Ok(Self { all, copy: None })
    }

    /// Names and shapes of all tensors.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let all = self.all.iter();
        all.map(|t| (t.name.clone(), t.shape.to_vec())).collect()
    }

    /// Leaves tensors out.
    pub fn without(mut self, drop: impl Fn(&str) -> bool) -> Self {
        self.all.retain(|tensor| !drop(&tensor.name));
        self
    }

    /// Gives every tensor another name.
    pub fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        for tensor in &mut self.all {
            tensor.name = rename(&tensor.name);
        }
        self
    }

    /// Fills `module` with the tensors as f32, all of them and nothing else; `official` gives the file's name of one
    /// of ours, for the message.
    ///
    /// # Errors
    /// If any tensor is missing, unknown or of another shape: all of them are listed.
    pub fn fill<M: ModuleSnapshot>(
        self,
        mut module: M,
        path: &Path,
        official: impl Fn(&str) -> String,
    ) -> Result<M, WeightsError> {
        let Self { all, copy } = self;
        let to_f32 = Adapt::new(Layout::Ours, Some(DType::F32));
        let result = module.apply(all, None, Some(Box::new(to_f32.clone())), true);
        drop(copy); // everything has been read
        let missing = result.missing.iter().map(|(name, _)| official(name));
        let missing: Vec<_> = missing.collect();
        let unused: Vec<_> = result.unused.iter().map(|n| official(n)).collect();
        let wrong: Vec<_> = result.errors.iter().map(ToString::to_string).collect();
        if missing.is_empty() && unused.is_empty() && wrong.is_empty() {
            let tensors: Vec<_> = to_f32.damaged().iter().map(|n| official(n)).collect();
            let path = path.display().to_string();
            return match tensors.is_empty() {
                true => Ok(module),
                false => Err(WeightsError::Numbers { path, tensors }),
            };
        }
        Err(WeightsError::Mismatch {
            path: path.display().to_string(),
            missing,
            unused,
            wrong,
        })
    }
}

/// Writes a module as safetensors, its names changed by `patterns` (a regular expression and what replaces it). An
/// existing file is replaced.
///
/// # Errors
/// If the file cannot be written.
pub fn save<M: ModuleSnapshot>(
    module: &M,
    path: &Path,
    dtype: FileDType,
    patterns: Vec<(&str, &str)>,
) -> Result<(), WeightsError> {
    let names = KeyRemapper::from_patterns(patterns).map_err(|e| WeightsError::file(path, e))?;
    let mut store = SafetensorsStore::from_file(path)
        .overwrite(true)
        .remap(names)
        .with_to_adapter(FloatCastAdapter::to(dtype.dtype()));
    let saved = module.save_into(&mut store);
    saved.map_err(|e| WeightsError::file(path, e))
}

/// What stands for the path of weights that lie in memory.
pub const IN_MEMORY: &str = "weights in memory";
