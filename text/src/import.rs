//! Weights under Hugging Face's key names: strict reading, and writing in the same layout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::store::burn_pack::Tensor as FileTensor;
use burn::store::{
    ApplyError, BurnToPyTorchAdapter, FloatCastAdapter, ModuleAdapter, ModuleSnapshot, ModuleStore,
    PyTorchToBurnAdapter, PytorchStore, SafetensorsStore, bridge,
};
use burn::tensor::DType;
use safetensors::tensor::{Dtype as FileDtype, TensorView, serialize, serialize_to_file};

use crate::{T5Config, T5Encoder, TextError};

/// Names under which a folder may hold the weights, in the order in which they are tried.
pub const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Precision of a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE half.
    F16,
}

/// Module fields and their place in an official block, `encoder.block.N.`.
const BLOCK_KEYS: [(&str, &str); 9] = [
    ("attention_norm.gamma", "layer.0.layer_norm.weight"),
    ("query.weight", "layer.0.SelfAttention.q.weight"),
    ("key.weight", "layer.0.SelfAttention.k.weight"),
    ("value.weight", "layer.0.SelfAttention.v.weight"),
    ("output.weight", "layer.0.SelfAttention.o.weight"),
    ("ffn_norm.gamma", "layer.1.layer_norm.weight"),
    ("gate.weight", "layer.1.DenseReluDense.wi_0.weight"),
    ("up.weight", "layer.1.DenseReluDense.wi_1.weight"),
    ("down.weight", "layer.1.DenseReluDense.wo.weight"),
];

/// The embedding table, and the second name under which some files repeat it.
pub const SHARED: &str = "shared.weight";
/// The second name.
pub const SHARED_ALIAS: &str = "encoder.embed_tokens.weight";

/// Field path of the module to official key. Made from the names alone: asking the module for its parameters would
/// draw all the random numbers that the weights are about to replace.
fn key_map(t5: &T5Encoder) -> BTreeMap<String, String> {
    let outside = ["shared.weight", "relative_bias.weight", "norm.gamma"];
    let blocks = (0..t5.depth()).flat_map(|i| {
        let parts = BLOCK_KEYS.iter();
        parts.map(move |(part, _)| format!("blocks.{i}.{part}"))
    });
    let fields = outside.into_iter().map(str::to_owned).chain(blocks);
    fields
        .map(|field| {
            let key = official_key(&field);
            (field, key)
        })
        .collect()
}

/// What a file of the encoder's weights holds, under Hugging Face's names: names and shapes.
pub fn keys(config: &T5Config) -> BTreeMap<String, Vec<usize>> {
    let (d, f) = (config.d_model, config.d_ff);
    let inner = config.d_kv * config.num_heads;
    let block = [
        vec![d],
        vec![inner, d],
        vec![inner, d],
        vec![inner, d],
        vec![d, inner],
        vec![d],
        vec![f, d],
        vec![f, d],
        vec![d, f],
    ];
    let buckets = config.relative_attention_num_buckets;
    let outside = [
        ("shared.weight", vec![config.vocab_size, d]),
        ("relative_bias.weight", vec![buckets, config.num_heads]),
        ("norm.gamma", vec![d]),
    ];
    let outside = outside
        .into_iter()
        .map(|(field, shape)| (official_key(field), shape));
    let blocks = (0..config.num_layers).flat_map(|i| {
        let parts = BLOCK_KEYS.iter().zip(block.clone());
        parts.map(move |((field, _), shape)| (official_key(&format!("blocks.{i}.{field}")), shape))
    });
    outside.chain(blocks).collect()
}

fn official_key(field: &str) -> String {
    let table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    match field {
        "shared.weight" => return SHARED.into(),
        "relative_bias.weight" => return table.into(),
        "norm.gamma" => return "encoder.final_layer_norm.weight".into(),
        _ => {}
    }
    let rest = field.strip_prefix("blocks.").unwrap_or(field);
    let (block, part) = rest.split_once('.').unwrap_or((rest, ""));
    let key = BLOCK_KEYS.iter().find(|(ours, _)| *ours == part);
    let (_, key) = key.unwrap_or_else(|| panic!("the field {field} has no official key"));
    format!("encoder.block.{block}.{key}")
}

/// Whether a key belongs to the half of T5 that is not used here.
pub fn is_decoder(key: &str) -> bool {
    key.starts_with("decoder.") || key.starts_with("lm_head.")
}

/// Fills an encoder from a file: safetensors, a sharded safetensors index (`*.index.json`), or a
/// PyTorch state dict (any other ending, `.pth`, `.pt` or `.bin`). Weights become f32.
///
/// Keys of the decoder and the language-model head are left aside; the embedding table may be named
/// `shared.weight`, `encoder.embed_tokens.weight` or both. Anything else must match the encoder.
///
/// # Errors
/// [`TextError::Io`], [`TextError::Weights`], [`TextError::Keys`] or [`TextError::Tensors`]; after the
/// last one the encoder may hold a part of the new weights.
pub fn load(t5: &mut T5Encoder, path: impl AsRef<Path>) -> Result<(), TextError> {
    let adapter = PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32));
    load_with(t5, path, Box::new(adapter))
}

/// As [`load`], with another way from PyTorch's layout and the file's number format to those of the encoder.
///
/// # Errors
/// As for [`load`].
pub fn load_with(
    t5: &mut T5Encoder,
    path: impl AsRef<Path>,
    adapter: Box<dyn ModuleAdapter>,
) -> Result<(), TextError> {
    let path = path.as_ref();
    let tensors = read(path)?;
    fill(t5, tensors, path, adapter)
}

/// Fills an encoder from the bytes of a safetensors file, as [`load`] does.
///
/// # Errors
/// As for [`load`].
pub fn load_bytes(t5: &mut T5Encoder, bytes: Vec<u8>) -> Result<(), TextError> {
    let path = Path::new("weights (in memory)");
    let mut store = SafetensorsStore::from_bytes(Some(bytes));
    let tensors = store
        .get_all_tensors()
        .map_err(|e| broken(path, &e))?
        .clone();
    let adapter = PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32));
    fill(t5, tensors, path, Box::new(adapter))
}

fn broken(path: &Path, error: &dyn std::fmt::Display) -> TextError {
    TextError::Weights {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

/// All tensors of a file, unread until they are needed.
fn read(path: &Path) -> Result<BTreeMap<String, FileTensor>, TextError> {
    let head = std::fs::File::open(path).and_then(|file| file.metadata());
    let head = head.map_err(|e| TextError::io(path, e))?;
    if !head.is_file() {
        return Err(broken(path, &"not a file"));
    }
    let name = path.to_string_lossy();
    if name.ends_with(".index.json") {
        return read_shards(path);
    }
    if name.ends_with(".safetensors") {
        let mut store = SafetensorsStore::from_file(path);
        return Ok(store
            .get_all_tensors()
            .map_err(|e| broken(path, &e))?
            .clone());
    }
    let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
    Ok(store
        .get_all_tensors()
        .map_err(|e| broken(path, &e))?
        .clone())
}

fn read_shards(index: &Path) -> Result<BTreeMap<String, FileTensor>, TextError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, PathBuf>,
    }
    let text = std::fs::read_to_string(index).map_err(|e| TextError::io(index, e))?;
    let map: Index = serde_json::from_str(&text).map_err(|e| broken(index, &e))?;
    let files: BTreeSet<PathBuf> = map.weight_map.into_values().collect();
    let dir = index.parent().unwrap_or(Path::new("."));
    let mut tensors = BTreeMap::new();
    for file in files {
        let known = |e: &std::ffi::OsStr| e == "safetensors" || e == "bin";
        if !file.extension().is_some_and(known) || file.components().count() != 1 {
            return Err(broken(index, &format!("strange shard name {file:?}")));
        }
        tensors.extend(read(&dir.join(file))?);
    }
    Ok(tensors)
}

/// Renames, checks that every key has its place, and applies.
fn fill(
    t5: &mut T5Encoder,
    mut tensors: BTreeMap<String, FileTensor>,
    path: &Path,
    adapter: Box<dyn ModuleAdapter>,
) -> Result<(), TextError> {
    if let Some(alias) = tensors.remove(SHARED_ALIAS) {
        tensors.entry(SHARED.into()).or_insert(alias);
    }
    let mut missing = Vec::new();
    let mut renamed = Vec::new();
    let mut problems = Vec::new();
    for (field, key) in key_map(t5) {
        let Some(mut tensor) = tensors.remove(&key) else {
            missing.push(key);
            continue;
        };
        if !tensor.dtype.is_float() {
            problems.push(format!("{key} holds {:?}, not floats", tensor.dtype));
        }
        tensor.name = field;
        renamed.push(tensor);
    }
    let unused: Vec<String> = tensors.into_keys().filter(|key| !is_decoder(key)).collect();
    if !missing.is_empty() || !unused.is_empty() {
        return Err(TextError::Keys {
            path: path.to_owned(),
            missing,
            unused,
        });
    }
    if problems.is_empty() {
        let result = t5.apply(renamed, None, Some(adapter), false);
        problems.extend(result.errors.iter().map(official_problem));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(TextError::Tensors {
            path: path.to_owned(),
            problems,
        }),
    }
}

fn official_problem(error: &ApplyError) -> String {
    match error {
        ApplyError::ShapeMismatch {
            path,
            expected,
            found,
        } => format!(
            "{} has shape {found} (transposed where it is a matrix product's), the model {expected}",
            official_key(path)
        ),
        other => other.to_string(),
    }
}

/// Writes the encoder as safetensors under Hugging Face's key names and layout; [`load`] reads it
/// back. An existing file is replaced as a whole.
///
/// # Errors
/// [`TextError::Weights`] where a tensor cannot be read back or the file not be written.
pub fn save(t5: &T5Encoder, path: impl AsRef<Path>, precision: Precision) -> Result<(), TextError> {
    let path = path.as_ref();
    let tensors = official_tensors(t5, precision).map_err(|e| broken(path, &e))?;
    serialize_to_file(views(&tensors, path)?, Some(pt_metadata()), path)
        .map_err(|e| broken(path, &e))
}

/// The bytes that [`save`] writes.
///
/// # Errors
/// As for [`save`].
pub fn to_bytes(t5: &T5Encoder, precision: Precision) -> Result<Vec<u8>, TextError> {
    let path = Path::new("weights (in memory)");
    let tensors = official_tensors(t5, precision).map_err(|e| broken(path, &e))?;
    serialize(views(&tensors, path)?, Some(pt_metadata())).map_err(|e| broken(path, &e))
}

fn pt_metadata() -> std::collections::HashMap<String, String> {
    [("format".to_owned(), "pt".to_owned())].into()
}

/// One tensor of a file to be written.
struct Entry {
    key: String,
    dtype: FileDtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn official_tensors(t5: &T5Encoder, precision: Precision) -> Result<Vec<Entry>, String> {
    let (cast, dtype) = match precision {
        Precision::F32 => (DType::F32, FileDtype::F32),
        Precision::F16 => (DType::F16, FileDtype::F16),
    };
    let adapter = BurnToPyTorchAdapter.chain(FloatCastAdapter::to(cast));
    let mut entries = Vec::new();
    for tensor in t5.collect(None, Some(Box::new(adapter)), false) {
        // The adapter gives a norm's field its PyTorch name.
        let field = tensor.name.replace("norm.weight", "norm.gamma");
        let data = bridge::into_data(tensor).map_err(|e| e.to_string())?;
        entries.push(Entry {
            key: official_key(&field),
            dtype,
            shape: data.shape().to_vec(),
            bytes: data.into_bytes().to_vec(),
        });
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(entries)
}

fn views<'a>(
    entries: &'a [Entry],
    path: &Path,
) -> Result<Vec<(&'a str, TensorView<'a>)>, TextError> {
    entries
        .iter()
        .map(|entry| {
            TensorView::new(entry.dtype, entry.shape.clone(), &entry.bytes)
                .map(|view| (entry.key.as_str(), view))
                .map_err(|e| broken(path, &e))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::T5Config;
    use burn::tensor::{Bool, Device, Int, Tensor};

    fn tiny() -> T5Encoder {
        T5Config::new(20, 16, 2, 4, 24).init(&Device::flex())
    }

    fn features(t5: &T5Encoder) -> Tensor<3> {
        let device = t5.weights_device();
        let ids = Tensor::<2, Int>::from_data([[3, 4, 5, 1]], &device);
        let valid = Tensor::<2, Bool>::from_data([[true, true, true, true]], &device);
        t5.forward(ids, valid)
    }

    fn gap(a: &T5Encoder, b: &T5Encoder) -> f32 {
        (features(a) - features(b)).abs().max().into_scalar()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let (a, mut b) = (tiny(), tiny());
        assert!(gap(&a, &b) > 1e-3);
        save(&a, &path, Precision::F32).unwrap();
        load(&mut b, &path).unwrap();
        assert_eq!(gap(&a, &b), 0.0);
        let mut half = tiny();
        load_bytes(&mut half, to_bytes(&a, Precision::F16).unwrap()).unwrap();
        let gap = gap(&a, &half);
        assert!(gap > 0.0 && gap < 2e-2, "{gap}");
    }

    #[test]
    fn shards_are_joined() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = to_bytes(&tiny(), Precision::F32).unwrap();
        std::fs::write(dir.path().join("part.safetensors"), bytes).unwrap();
        let index = dir.path().join("model.safetensors.index.json");
        std::fs::write(
            &index,
            r#"{"weight_map": {"shared.weight": "part.safetensors"}}"#,
        )
        .unwrap();
        load(&mut tiny(), &index).unwrap();
        std::fs::write(
            &index,
            r#"{"weight_map": {"shared.weight": "../a.safetensors"}}"#,
        )
        .unwrap();
        assert!(matches!(
            load(&mut tiny(), &index),
            Err(TextError::Weights { .. })
        ));
    }

    /// PyTorch's shards, as older tools download them: two files written by PyTorch, in which every number of tensor `i` in
    /// the order of the names is `i`.
    #[test]
    fn shards_of_pytorch_are_joined() {
        let index =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch_model.bin.index.json");
        let mut t5 = tiny();
        load(&mut t5, &index).unwrap();
        let names: Vec<String> = keys(&T5Config::new(20, 16, 2, 4, 24)).into_keys().collect();
        let read = official_tensors(&t5, Precision::F32).unwrap();
        assert_eq!(read.len(), names.len());
        for entry in read {
            let number = names.iter().position(|name| *name == entry.key).unwrap() as f32;
            let all = entry.bytes.chunks_exact(4);
            assert!(
                all.len() > 0 && all.clone().all(|b| b == number.to_le_bytes()),
                "{}",
                entry.key
            );
        }
    }

    #[test]
    fn files_that_do_not_fit_are_refused_with_their_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let error = load(&mut tiny(), &path).unwrap_err();
        assert!(matches!(error, TextError::Io { .. }));
        assert!(error.to_string().contains("w.safetensors"), "{error}");

        let mut bytes = to_bytes(&tiny(), Precision::F32).unwrap();
        bytes.truncate(bytes.len() - 10);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(
            load(&mut tiny(), &path),
            Err(TextError::Weights { .. })
        ));

        let deeper = T5Config::new(20, 16, 3, 4, 24).init(&Device::flex());
        save(&deeper, &path, Precision::F32).unwrap();
        let Err(TextError::Keys {
            missing, unused, ..
        }) = load(&mut tiny(), &path)
        else {
            panic!("a third block should be refused");
        };
        assert!(missing.is_empty() && unused.len() == 9, "{unused:?}");
        assert!(unused[0].starts_with("encoder.block.2."));

        save(&tiny(), &path, Precision::F32).unwrap();
        let mut deeper = deeper;
        let Err(TextError::Keys {
            missing, unused, ..
        }) = load(&mut deeper, &path)
        else {
            panic!("a missing third block should be refused");
        };
        assert!(unused.is_empty() && missing.len() == 9, "{missing:?}");

        let mut wider = T5Config::new(20, 16, 2, 4, 28).init(&Device::flex());
        let error = load(&mut wider, &path).unwrap_err();
        assert!(error.to_string().contains("wi_0"), "{error}");
    }
}
