//! Files of tensors, whatever their format.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    store::{
        ApplyResult, BurnToPyTorchAdapter, ModuleSnapshot, ModuleStore, SafetensorsStore, bridge,
        burn_pack,
    },
    tensor::{DType, Shape, TensorData},
};
use nextscale_tokenizer::import::{Adapt, KeptCopy, Layout, Opened};
use safetensors::tensor::{Dtype, TensorView};

use super::{Rule, WeightError};

type Lazy = burn_pack::Tensor;

/// The tensors of a checkpoint, read when asked for.
pub struct WeightFile {
    path: PathBuf,
    tensors: BTreeMap<String, Lazy>,
    /// Copies of files that the tensors are read from.
    copies: Vec<KeptCopy>,
    dtype: Option<DType>,
}

/// Number format of a written checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightDtype {
    /// 32 bits.
    F32,
    /// 16 bits, 5 of them exponent.
    F16,
    /// 16 bits, 8 of them exponent.
    Bf16,
}

impl From<WeightDtype> for DType {
    fn from(dtype: WeightDtype) -> Self {
        match dtype {
            WeightDtype::F32 => Self::F32,
            WeightDtype::F16 => Self::F16,
            WeightDtype::Bf16 => Self::BF16,
        }
    }
}

impl WeightFile {
    /// Opens a `.safetensors` file, a PyTorch file (any other name), or a folder of either with all its shards.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let (mut tensors, mut copies) = (BTreeMap::new(), Vec::new());
        for shard in shards(path)? {
            let opened = Opened::new(&shard, None).map_err(|reason| WeightError::Read {
                path: shard.clone(),
                reason,
            })?;
            copies.extend(opened.copy);
            tensors.extend(opened.tensors);
        }
        Ok(Self {
            path: path.to_owned(),
            tensors: unwrapped(tensors),
            copies,
            dtype: None,
        })
    }

    /// Brings floating-point numbers to this format as they are read; without it they keep that of the file.
    #[must_use]
    pub fn in_dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// The format to which floating-point numbers are brought as they are read, if they are brought to any.
    pub fn dtype(&self) -> Option<DType> {
        self.dtype
    }

    /// Reads the bytes of a `.safetensors` file.
    ///
    /// # Errors
    /// If they are no such file.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, WeightError> {
        let path = PathBuf::from("weights in memory");
        let mut store = SafetensorsStore::from_bytes(Some(bytes));
        let tensors = store.get_all_tensors().cloned();
        let tensors = tensors.map_err(|e| WeightError::Read {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        let dtype = None;
        Ok(Self {
            path,
            tensors,
            copies: Vec::new(),
            dtype,
        })
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file without tensors, to be filled by [`WeightFile::replace`]; errors call it `path`.
    pub fn empty(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            tensors: BTreeMap::new(),
            copies: Vec::new(),
            dtype: None,
        }
    }

    /// Gives every tensor another name; of several that get the same one the last stays.
    #[must_use]
    pub fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        let all = self.tensors.into_iter().map(|(name, mut tensor)| {
            tensor.name = rename(&name);
            (tensor.name.clone(), tensor)
        });
        self.tensors = all.collect();
        self
    }

    /// Number format and shape of a tensor, if there is one of that name.
    pub fn kind(&self, name: &str) -> Option<(DType, Vec<usize>)> {
        let tensor = self.tensors.get(name)?;
        Some((tensor.dtype, tensor.shape.to_vec()))
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|t| t.shape.to_vec())
    }

    /// The shape of a tensor that a `model` has, with so many axes.
    ///
    /// # Errors
    /// A sentence: there is none of that name, or it has another number of axes.
    pub fn shape_of(&self, name: &str, rank: usize, model: &str) -> Result<Vec<usize>, String> {
        match self.shape(name) {
            Some(shape) if shape.len() == rank => Ok(shape),
            Some(shape) => Err(format!("`{name}` has shape {shape:?}, not {rank} axes")),
            None => Err(format!("it is no {model}: there is no `{name}`")),
        }
    }

    /// The largest number behind `prefix` in the names, and one more; 0 where there is none.
    pub fn count(&self, prefix: &str) -> usize {
        let numbers = self.names().filter_map(|name| {
            let (number, _) = name.strip_prefix(prefix)?.split_once('.')?;
            number.parse::<usize>().ok()
        });
        numbers.max().map_or(0, |last| last + 1)
    }

    /// Into how many chunks the names cut the blocks; 1 where they speak of none.
    pub fn chunks(&self) -> usize {
        self.count("block_chunks.").max(1)
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// If there is none of that name, or reading fails.
    pub fn read(&self, name: &str) -> Result<TensorData, WeightError> {
        let tensor = self.tensors.get(name).ok_or_else(|| WeightError::Keys {
            path: self.path.clone(),
            missing: vec![name.to_owned()],
            unused: vec![],
        })?;
        bridge::to_data(tensor).map_err(|e| self.failed(format!("{name}: {e}")))
    }

    /// The tensors whose names begin with `prefix`, without it. They are read when asked for, as here.
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
        }
    }

    /// Drops tensors.
    pub fn forget(&mut self, drop: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| !drop(name));
    }

    /// Puts a tensor in place of the one of that name.
    pub fn replace(&mut self, name: &str, data: TensorData) {
        let tensor = bridge::from_data(data, name.to_owned(), None);
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// Gives the tensors under `official` our names, under `ours`, and cuts stacked ones apart.
    pub fn rename(&mut self, rules: &[Rule], official: &str, ours: &str) {
        for rule in rules {
            let Some(tensor) = self.tensors.remove(&format!("{official}{}", rule.official)) else {
                continue;
            };
            let names = rule.ours.iter().map(|name| format!("{ours}{name}"));
            let parts = parts(tensor, names.collect()).into_iter();
            self.tensors
                .extend(parts.map(|part| (part.name.clone(), part)));
        }
    }

    /// Renames the tensors of `depth` blocks, however their names are chunked, to those of `blocks.0.`, `blocks.1.`, ..
    ///
    /// # Errors
    /// If the chunks do not divide the blocks.
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

    /// Fills `module` with the tensors, all of them and nothing else.
    ///
    /// # Errors
    /// If one is missing, left over, or of another shape.
    pub fn apply<M: ModuleSnapshot>(self, module: &mut M) -> Result<(), WeightError> {
        let path = self.path;
        let tensors = self.tensors.into_values().collect();
        let adapter = Adapt::new(Layout::PyTorch, self.dtype);
        let ApplyResult {
            missing,
            unused,
            errors,
            ..
        } = module.apply(tensors, None, Some(Box::new(adapter.clone())), true);
        if !errors.is_empty() {
            let reasons = errors.iter().map(ToString::to_string).collect();
            return Err(WeightError::Mismatch { path, reasons });
        }
        if missing.is_empty() && unused.is_empty() {
            let tensors = adapter.damaged();
            return match tensors.is_empty() {
                true => Ok(()),
                false => Err(WeightError::Numbers { path, tensors }),
            };
        }
        let missing = missing.into_iter().map(|(name, _)| name).collect();
        Err(WeightError::Keys {
            path,
            missing,
            unused,
        })
    }

    fn failed(&self, reason: String) -> WeightError {
        WeightError::Read {
            path: self.path.clone(),
            reason,
        }
    }
}

/// The name of block `i` of `depth` in a checkpoint of `chunks` chunks, with the dot behind it.
pub fn block_name(i: usize, depth: usize, chunks: usize) -> String {
    if chunks == 1 {
        return format!("blocks.{i}.");
    }
    let size = (depth / chunks).max(1); // a damaged file may have more chunks than blocks
    format!("block_chunks.{}.module.{}.", i / size, i % size)
}

/// What training checkpoints put in front of the model's own names.
const WRAPPERS: [&str; 6] = [
    "trainer.gpt_fsdp.",
    "trainer.var_wo_ddp.",
    "gpt_fsdp.",
    "state_dict.",
    "module.",
    "vae.",
];

/// Tensors by the model's own names: out of the first wrapper that holds any, and only those.
fn unwrapped(tensors: BTreeMap<String, Lazy>) -> BTreeMap<String, Lazy> {
    let holds = |wrapper: &&&str| tensors.keys().any(|name| name.starts_with(**wrapper));
    let Some(wrapper) = WRAPPERS.iter().find(holds) else {
        return tensors;
    };
    let inner = tensors.into_iter().filter_map(|(name, mut tensor)| {
        let name = name.strip_prefix(wrapper)?.to_owned();
        tensor.name.clone_from(&name);
        Some((name, tensor))
    });
    inner.collect()
}

/// The files to read for `path`: itself, or the shards in it, those of an index if there is one.
fn shards(path: &Path) -> Result<Vec<PathBuf>, WeightError> {
    let fail = |path: &Path, reason: String| WeightError::Read {
        path: path.to_owned(),
        reason,
    };
    let meta = fs::metadata(path).map_err(|e| fail(path, e.to_string()))?;
    if path.to_string_lossy().ends_with(".index.json") {
        return complete(path);
    }
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|e| fail(path, e.to_string()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    let index = files
        .iter()
        .find(|p| p.to_string_lossy().ends_with(".index.json"));
    if let Some(index) = index {
        return complete(index);
    }
    for kinds in [&["safetensors"][..], &["bin", "pth", "pt"]] {
        let of_kind = |p: &&PathBuf| {
            let extension = p.extension().and_then(|e| e.to_str());
            extension.is_some_and(|e| kinds.contains(&e))
        };
        let found: Vec<PathBuf> = files.iter().filter(of_kind).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(fail(path, "a folder without weights".to_owned()))
}

/// The shards that an index names, all of which have to be there.
fn complete(index: &Path) -> Result<Vec<PathBuf>, WeightError> {
    let fail = |reason: String| WeightError::Read {
        path: index.to_owned(),
        reason,
    };
    let found = indexed(index).map_err(fail)?;
    match found.iter().find(|shard| !shard.is_file()) {
        Some(absent) => Err(fail(format!(
            "it names {}, which is not there",
            absent.display()
        ))),
        None => Ok(found),
    }
}

/// The shards that an index in Hugging Face's layout names, sorted.
fn indexed(index: &Path) -> Result<Vec<PathBuf>, String> {
    let text = fs::read_to_string(index).map_err(|e| e.to_string())?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let map = value["weight_map"]
        .as_object()
        .ok_or("there is no `weight_map`")?;
    let names: BTreeSet<&str> = map.values().filter_map(|v| v.as_str()).collect();
    let folder = index.parent().unwrap_or(Path::new("."));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// A stacked tensor, and how many of its parts were cut off since it was read.
#[derive(Default)]
struct Stack(Option<TensorData>, usize);

/// Equal runs of rows, one for each name. The file is read once for all of them, however large it is: the whole tensor is
/// kept from the first part that is asked for to the last.
fn parts(tensor: Lazy, names: Vec<String>) -> Vec<Lazy> {
    let (n, mut shape) = (names.len(), tensor.shape.to_vec());
    if n < 2 || shape.first().is_none_or(|rows| rows % n != 0) {
        let whole = names.into_iter().map(|name| {
            let mut whole = tensor.clone();
            whole.name = name;
            whole
        });
        return whole.collect();
    }
    shape[0] /= n;
    let shape = Shape::from(shape);
    let stack = Arc::new(Mutex::new(Stack::default()));
    let part = |(i, name)| {
        let (stack, tensor, out) = (stack.clone(), tensor.clone(), shape.clone());
        bridge::deferred(name, tensor.dtype, shape.clone(), None, move || {
            let mut stack = stack.lock().unwrap_or_else(PoisonError::into_inner);
            let whole = match stack.0.take() {
                Some(whole) => whole,
                None => bridge::to_data(&tensor)?,
            };
            let len = whole.as_bytes().len() / n;
            let rows = whole.as_bytes()[i * len..(i + 1) * len].to_vec();
            stack.1 += 1;
            match stack.1 < n {
                true => stack.0 = Some(whole),
                false => stack.1 = 0,
            }
            Ok(TensorData::from_bytes_vec(rows, out.clone(), tensor.dtype))
        })
    };
    names.into_iter().enumerate().map(part).collect()
}

/// A tensor about to be written.
struct Written {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Parameters of a module by our names, on their way into a file with the names of a checkpoint.
pub struct Export {
    ours: HashMap<String, Lazy>,
    out: BTreeMap<String, Written>,
    dtype: WeightDtype,
}

impl Export {
    /// All parameters of `module`.
    pub fn new<M: ModuleSnapshot>(module: &M, dtype: WeightDtype) -> Self {
        let all = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
        let ours = all.into_iter().map(|t| (t.name.clone(), t)).collect();
        Self {
            ours,
            out: BTreeMap::new(),
            dtype,
        }
    }

    /// Moves the parameters under `ours` to the names under `official`; buffers of zeros have `width` numbers.
    ///
    /// # Errors
    /// A sentence, if a parameter is missing or cannot be read.
    pub fn add(
        &mut self,
        rules: &[Rule],
        official: &str,
        ours: &str,
        width: usize,
    ) -> Result<(), String> {
        for rule in rules {
            let mut stacked: Option<Written> = None;
            for name in rule.ours {
                let name = format!("{ours}{name}");
                let tensor = self.ours.remove(&name).ok_or(format!("no {name}"))?;
                let next = written(tensor, self.dtype)?;
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
            self.out
                .insert(format!("{official}{}", rule.official), tensor);
        }
        Ok(())
    }

    /// Adds a tensor that is no parameter, under its official name.
    ///
    /// # Errors
    /// A sentence, if its numbers have no place in the file's format.
    pub fn constant(&mut self, official: &str, data: TensorData) -> Result<(), String> {
        let dtype = match data.dtype() {
            DType::I64 => Dtype::I64,
            DType::F32 => Dtype::F32,
            other => return Err(format!("{official}: numbers of type {other:?}")),
        };
        let tensor = Written {
            dtype,
            shape: data.shape().to_vec(),
            bytes: data.as_bytes().to_vec(),
        };
        self.out.insert(official.to_owned(), tensor);
        Ok(())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// A sentence, if a parameter was not added, or the file cannot be written.
    pub fn write(self, path: &Path) -> Result<(), String> {
        if let Some(left) = self.ours.keys().next() {
            return Err(format!("no rule for {left}"));
        }
        let mut views = Vec::new();
        for (name, t) in &self.out {
            let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes);
            views.push((name.as_str(), view.map_err(|e| e.to_string())?));
        }
        safetensors::serialize_to_file(views, None, path).map_err(|e| e.to_string())
    }
}

fn formats(dtype: WeightDtype) -> (Dtype, DType, usize) {
    match dtype {
        WeightDtype::F32 => (Dtype::F32, DType::F32, 4),
        WeightDtype::F16 => (Dtype::F16, DType::F16, 2),
        WeightDtype::Bf16 => (Dtype::BF16, DType::BF16, 2),
    }
}

fn written(tensor: Lazy, dtype: WeightDtype) -> Result<Written, String> {
    let (theirs, ours, _) = formats(dtype);
    let data = bridge::into_data(tensor).map_err(|e| e.to_string())?;
    let data = data.convert_dtype(ours);
    Ok(Written {
        dtype: theirs,
        shape: data.shape().to_vec(),
        bytes: data.as_bytes().to_vec(),
    })
}

fn zeros(width: usize, dtype: WeightDtype) -> Written {
    let (dtype, _, size) = formats(dtype);
    Written {
        dtype,
        shape: vec![width],
        bytes: vec![0; size * width],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str) -> (String, Lazy) {
        let data = TensorData::new(vec![1.0f32], [1]);
        (
            name.to_owned(),
            bridge::from_data(data, name.to_owned(), None),
        )
    }

    #[test]
    fn a_stacked_tensor_is_read_once_for_all_its_parts() {
        let reads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = reads.clone();
        let stacked = bridge::deferred("qkv".into(), DType::F32, [6, 1].into(), None, move || {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(TensorData::new(vec![0f32, 1.0, 2.0, 3.0, 4.0, 5.0], [6, 1]))
        });
        let names = ["q", "k", "v"].map(str::to_owned).to_vec();
        let all = parts(stacked, names);
        for round in 1..3 {
            for (i, part) in all.iter().enumerate() {
                let data = bridge::to_data(part).unwrap();
                assert_eq!(data.shape().to_vec(), [2, 1]);
                let first: f32 = data.iter().next().unwrap();
                assert_eq!(first, 2.0 * i as f32);
            }
            assert_eq!(reads.load(std::sync::atomic::Ordering::SeqCst), round);
        }
    }

    /// The name of this file has as many letters as the ZIP reader takes for something else.
    #[test]
    fn a_misread_archive_opens_and_stays_readable() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/infinitystar_videovae.pth");
        let part = WeightFile::open(&path).unwrap().part("a."); // without the file it came from
        let data = part.read("weight").unwrap();
        assert_eq!(data.shape().to_vec(), [2, 3]);
        let values: Vec<f32> = data.iter().collect();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn training_checkpoints_are_unwrapped() {
        let names = [
            "trainer.gpt_fsdp.head.weight",
            "trainer.gpt_opt.state",
            "epoch",
        ];
        let inner = unwrapped(names.map(tensor).into());
        assert_eq!(inner.keys().collect::<Vec<_>>(), ["head.weight"]);
        assert_eq!(inner["head.weight"].name, "head.weight");
        let plain = ["head.weight", "head.bias"].map(tensor);
        assert_eq!(unwrapped(plain.into()).len(), 2);
    }
}
