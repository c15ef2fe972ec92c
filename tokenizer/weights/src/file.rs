//! An open weight file: names, shapes and tensors, and filling a module with them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::{
    store::{ApplyResult, ModuleSnapshot, bridge, burn_pack::Tensor},
    tensor::{DType, TensorData},
};
use bytes::Bytes;

use crate::{
    adapt::{Adapt, Layout},
    error::{ShapeError, WeightError, misfit},
    format::{self, RepairedCopy, Tensors},
    rules::{Rule, block_name},
    shards,
    split::split,
    wrapper::{Choice, unwrapped},
};

/// What stands for the path of weights that lie in memory.
const IN_MEMORY: &str = "weights in memory";

/// The tensors of a checkpoint, read when asked for.
pub struct WeightFile {
    path: PathBuf,
    tensors: Tensors,
    /// Repaired copies of files that the tensors are read from.
    copies: Vec<RepairedCopy>,
    dtype: Option<DType>,
    choice: Choice,
    has_other: bool,
    /// Names of tensors that were taken one by one.
    taken: Vec<String>,
}

impl WeightFile {
    /// Opens a `.safetensors` file, a PyTorch file (told apart by their content), an index of shards (`*.index.json`), or a folder of
    /// either with all its shards. Names lose what training checkpoints put in front of them.
    ///
    /// # Errors
    /// [`WeightError::Read`] if there is no such file, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        Self::open_choosing(path, Choice::default())
    }

    /// As [`WeightFile::open`], with the weights of a training checkpoint that are wanted.
    ///
    /// # Errors
    /// As for [`WeightFile::open`].
    pub fn open_choosing(path: &Path, choice: Choice) -> Result<Self, WeightError> {
        let (tensors, copies) = shards::open(path)?;
        let (tensors, has_other) = unwrapped(tensors, choice);
        Ok(Self {
            path: path.to_owned(),
            tensors,
            copies,
            dtype: None,
            choice,
            has_other,
            taken: Vec::new(),
        })
    }

    /// Which weights of a training checkpoint were taken.
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// Whether the file holds a model and its average, of which one was taken.
    pub fn has_other(&self) -> bool {
        self.has_other
    }

    /// Converts floating-point tensors to `dtype` as they are read. Without it they keep the format of the file.
    #[must_use]
    pub fn in_dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// The format that floating-point tensors are converted to, if any.
    pub fn dtype(&self) -> Option<DType> {
        self.dtype
    }

    /// Opens the bytes of a `.safetensors` file. They are shared, not copied.
    ///
    /// # Errors
    /// [`WeightError::Read`] if they are not such a file.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, WeightError> {
        let tensors = format::open_bytes(bytes.into(), Path::new(IN_MEMORY))?;
        Ok(Self {
            tensors: unwrapped(tensors, Choice::default()).0,
            ..Self::empty(IN_MEMORY)
        })
    }

    /// A file without tensors, to be filled with [`WeightFile::replace`]; errors call it `path`.
    pub fn empty(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            tensors: BTreeMap::new(),
            copies: Vec::new(),
            dtype: None,
            choice: Choice::default(),
            has_other: false,
            taken: Vec::new(),
        }
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames every tensor. Where several get the same name, the last one stays.
    #[must_use]
    pub fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        let all = self.tensors.into_iter().map(|(name, mut tensor)| {
            tensor.name = rename(&name);
            (tensor.name.clone(), tensor)
        });
        self.tensors = all.collect();
        self
    }

    /// Number format and shape of a tensor; none if there is no tensor of that name.
    pub fn kind(&self, name: &str) -> Option<(DType, Vec<usize>)> {
        let tensor = self.tensors.get(name)?;
        Some((tensor.dtype, tensor.shape.to_vec()))
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor; none if there is no tensor of that name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|t| t.shape.to_vec())
    }

    /// Names and shapes of all tensors.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let all = self.tensors.iter();
        all.map(|(name, t)| (name.clone(), t.shape.to_vec()))
            .collect()
    }

    /// The shape of a tensor that every `model` has, with `rank` axes.
    ///
    /// # Errors
    /// If there is no tensor of that name, or it has another number of axes. The error names `model`, with its article.
    pub fn shape_of(
        &self,
        name: &str,
        rank: usize,
        model: &'static str,
    ) -> Result<Vec<usize>, ShapeError> {
        let name = name.to_owned();
        match self.shape(&name) {
            Some(shape) if shape.len() == rank => Ok(shape),
            Some(shape) => Err(ShapeError::Rank { name, shape, rank }),
            None => Err(ShapeError::Missing { model, name }),
        }
    }

    /// One more than the largest number that follows `prefix` in a name; 0 if no name has one.
    pub fn count(&self, prefix: &str) -> usize {
        let numbers = self.names().filter_map(|name| {
            let (number, _) = name.strip_prefix(prefix)?.split_once('.')?;
            number.parse::<usize>().ok()
        });
        numbers.max().map_or(0, |last| last + 1)
    }

    /// Number of chunks that the names divide the blocks into; 1 if the blocks are not chunked.
    pub fn chunks(&self) -> usize {
        self.count("block_chunks.").max(1)
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// [`WeightError::Keys`] if there is no tensor of that name, [`WeightError::Read`] if reading fails.
    pub fn read(&self, name: &str) -> Result<TensorData, WeightError> {
        let tensor = self.tensors.get(name).ok_or_else(|| WeightError::Keys {
            path: self.path.clone(),
            missing: vec![name.to_owned()],
            unused: vec![],
        })?;
        bridge::to_data(tensor).map_err(|e| WeightError::read(&self.path, format!("{name}: {e}")))
    }

    /// Reads a tensor as it is stored, and drops it: [`WeightFile::apply`] does not miss it.
    ///
    /// # Errors
    /// As for [`WeightFile::read`].
    pub fn take(&mut self, name: &str) -> Result<TensorData, WeightError> {
        let data = self.read(name)?;
        self.tensors.remove(name);
        self.taken.push(name.to_owned());
        Ok(data)
    }

    /// The tensors whose names begin with `prefix`, under the rest of their names. None is read.
    #[must_use]
    pub fn part(&self, prefix: &str) -> Self {
        let inside = self.tensors.iter().filter_map(|(name, tensor)| {
            let name = name.strip_prefix(prefix)?.to_owned();
            let mut tensor = tensor.clone();
            tensor.name.clone_from(&name);
            Some((name, tensor))
        });
        Self {
            path: self.path.clone(),
            tensors: inside.collect(),
            copies: self.copies.clone(),
            dtype: self.dtype,
            choice: self.choice,
            has_other: self.has_other,
            taken: Vec::new(),
        }
    }

    /// Takes a tensor out, unread.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// Puts a tensor in under its own name.
    pub(crate) fn insert(&mut self, tensor: Tensor) {
        self.tensors.insert(tensor.name.clone(), tensor);
    }

    /// Drops tensors by name.
    pub fn forget(&mut self, drop: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| !drop(name));
    }

    /// Replaces or adds the tensor of that name.
    pub fn replace(&mut self, name: &str, data: TensorData) {
        let tensor = bridge::from_data(data, name.to_owned(), None);
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// Renames the tensors under `official` to our names, under `ours`, and splits stacked ones.
    pub fn rename(&mut self, rules: &[Rule], official: &str, ours: &str) {
        for rule in rules {
            let Some(tensor) = self.tensors.remove(&format!("{official}{}", rule.official)) else {
                continue;
            };
            let names = rule.ours.iter().map(|name| format!("{ours}{name}"));
            let parts = split(tensor, names.collect()).into_iter();
            self.tensors
                .extend(parts.map(|part| (part.name.clone(), part)));
        }
    }

    /// Renames the tensors of `depth` blocks, chunked or not, to our names under `blocks.0.`, `blocks.1.`, ..
    ///
    /// # Errors
    /// [`WeightError::Mismatch`] if the number of chunks does not divide the number of blocks.
    pub fn rename_blocks(&mut self, depth: usize, rules: &[Rule]) -> Result<(), WeightError> {
        let chunks = self.chunks();
        if !depth.is_multiple_of(chunks) {
            return Err(WeightError::Mismatch {
                path: self.path.clone(),
                reasons: vec![format!("{chunks} chunks of blocks for {depth} blocks")],
            });
        }
        for i in 0..depth {
            let name = block_name(i, depth, chunks);
            self.rename(rules, &name, &format!("blocks.{i}."));
        }
        Ok(())
    }

    /// Fills `module` with the tensors, which have our names and PyTorch's layout: all of them and nothing else.
    ///
    /// # Errors
    /// [`WeightError::Mismatch`] if a tensor has another shape, [`WeightError::Keys`] if one is missing or left over,
    /// [`WeightError::Numbers`] if one holds numbers that are not finite. The module may be filled in part then.
    pub fn apply<M: ModuleSnapshot>(self, module: &mut M) -> Result<(), WeightError> {
        self.apply_as(module, Layout::PyTorch, str::to_owned)
    }

    /// As [`WeightFile::apply`], for tensors in `layout`; `official` gives the name in the file for one of ours, for
    /// error messages.
    ///
    /// # Errors
    /// As for [`WeightFile::apply`].
    pub fn apply_as<M: ModuleSnapshot>(
        self,
        module: &mut M,
        layout: Layout,
        official: impl Fn(&str) -> String,
    ) -> Result<(), WeightError> {
        let path = self.path;
        let tensors = self.tensors.into_values().collect();
        let adapter = Adapt::new(layout, self.dtype);
        let ApplyResult {
            mut missing,
            unused,
            errors,
            ..
        } = module.apply(tensors, None, Some(Box::new(adapter.clone())), true);
        if !errors.is_empty() {
            let reasons = errors.iter().map(|e| misfit(e, &official)).collect();
            return Err(WeightError::Mismatch { path, reasons });
        }
        missing.retain(|(name, _)| !self.taken.contains(name));
        if !missing.is_empty() || !unused.is_empty() {
            return Err(WeightError::Keys {
                path,
                missing: missing.iter().map(|(name, _)| official(name)).collect(),
                unused: unused.iter().map(|name| official(name)).collect(),
            });
        }
        let damaged = adapter.damaged();
        if !damaged.is_empty() {
            let tensors = damaged.iter().map(|name| official(name)).collect();
            return Err(WeightError::Numbers { path, tensors });
        }
        Ok(())
    }
}
