//! The files of a checkpoint, and which of them each tensor comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use burn::store::{bridge, burn_pack::Tensor};

use crate::error::WeightError;
use crate::format::{self, RepairedCopy, Tensors};

/// The files of a checkpoint.
struct Shards {
    files: Vec<PathBuf>,
    /// The file of each tensor, where an index says so.
    index: Option<BTreeMap<String, PathBuf>>,
}

/// Opens a file, the shards of an index, or those of a folder. Each tensor comes from the shard that the index names.
///
/// # Errors
/// [`WeightError::Read`] if a file cannot be read, an index names a file outside its folder or a tensor that is not there, or
/// two shards hold the same tensor with other numbers.
pub(crate) fn open(path: &Path) -> Result<(Tensors, Vec<RepairedCopy>), WeightError> {
    let Shards { files, index } = shards(path)?;
    let (mut tensors, mut copies) = (Tensors::new(), vec![]);
    let mut origins: BTreeMap<String, &Path> = BTreeMap::new();
    for file in &files {
        let (inside, copy) = format::open(file)?;
        copies.extend(copy);
        for (name, tensor) in inside {
            let named = index.as_ref().and_then(|index| index.get(&name));
            let is_named = named.is_some_and(|shard| shard == file);
            match tensors.get(&name) {
                Some(first) if !is_equal(first, &tensor)? => {
                    let other = origins[&name].display();
                    let reason = format!(
                        "`{name}` is also in {other}, with other numbers: one of them is of another checkpoint"
                    );
                    return Err(WeightError::read(file, reason));
                }
                Some(_) if !is_named => {}
                _ => {
                    origins.insert(name.clone(), file);
                    tensors.insert(name, tensor);
                }
            }
        }
    }
    for (name, shard) in index.iter().flatten() {
        if origins.get(name) != Some(&shard.as_path()) {
            let reason = format!("`{name}` should be here, as the index says, and is not");
            return Err(WeightError::read(shard, reason));
        }
    }
    Ok((tensors, copies))
}

fn is_equal(a: &Tensor, b: &Tensor) -> Result<bool, WeightError> {
    let data = |tensor: &Tensor| {
        bridge::to_data(tensor).map_err(|e| WeightError::read(Path::new(&tensor.name), e))
    };
    if a.dtype != b.dtype || a.shape != b.shape {
        return Ok(false);
    }
    Ok(data(a)?.as_bytes() == data(b)?.as_bytes())
}

/// The files to read for `path`: the file itself, or the shards of an index or a folder.
fn shards(path: &Path) -> Result<Shards, WeightError> {
    if is_index(path) {
        return indexed(path);
    }
    if !path.is_dir() {
        let files = vec![path.to_owned()];
        return Ok(Shards { files, index: None });
    }
    let entries = fs::read_dir(path).map_err(|e| WeightError::read(path, e))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    let of_kind = |extensions: &[&str]| -> Vec<PathBuf> {
        let matches = |path: &&PathBuf| {
            let extension = path.extension().and_then(|e| e.to_str());
            extension.is_some_and(|e| extensions.contains(&e))
        };
        files.iter().filter(matches).cloned().collect()
    };
    if !of_kind(&["distcp"]).is_empty() {
        let reason = "it is a distributed checkpoint of PyTorch: merge it into one file with `python -m \
            torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER model.pth`";
        return Err(WeightError::read(path, reason));
    }
    let indices: Vec<_> = files.iter().filter(|path| is_index(path)).collect();
    let safetensors = indices
        .iter()
        .find(|path| path.to_string_lossy().contains("safetensors"));
    if let Some(index) = safetensors.or(indices.first()) {
        return indexed(index);
    }
    for extensions in [&["safetensors"][..], &["bin", "pth", "pt"]] {
        let files = of_kind(extensions);
        if !files.is_empty() {
            return Ok(Shards { files, index: None });
        }
    }
    Err(WeightError::read(path, "a folder without weights"))
}

fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".index.json")
}

/// The shards that an index in Hugging Face's layout names, sorted. All of them have to lie next to it.
fn indexed(index: &Path) -> Result<Shards, WeightError> {
    let fail = |reason: String| WeightError::read(index, reason);
    let text = fs::read_to_string(index).map_err(|e| fail(e.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
    let map = value["weight_map"].as_object();
    let map = map.ok_or_else(|| fail("there is no `weight_map`".to_owned()))?;
    let folder = index.parent().unwrap_or(Path::new("."));
    let mut shards = BTreeMap::new();
    for (tensor, name) in map {
        let name = name.as_str().unwrap_or_default();
        let mut parts = Path::new(name).components();
        let is_plain = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        if !is_plain || name.contains('\\') {
            return Err(fail(format!(
                "it names {name:?}, which is not in its folder"
            )));
        }
        shards.insert(tensor.clone(), folder.join(name));
    }
    let files: BTreeSet<PathBuf> = shards.values().cloned().collect();
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        let missing = missing.display();
        return Err(fail(format!("it names {missing}, which does not exist")));
    }
    Ok(Shards {
        files: files.into_iter().collect(),
        index: Some(shards),
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    fn write(path: &Path, tensors: &[(&str, f32)]) {
        let bytes: Vec<_> = tensors.iter().map(|(_, x)| x.to_le_bytes()).collect();
        let views = tensors.iter().zip(&bytes).map(|((name, _), bytes)| {
            (*name, TensorView::new(Dtype::F32, vec![1], bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, path).unwrap();
    }

    fn value(tensors: &Tensors, name: &str) -> f32 {
        let data: TensorData = bridge::to_data(&tensors[name]).unwrap();
        data.iter::<f32>().next().unwrap()
    }

    #[test]
    fn each_tensor_comes_from_the_shard_that_the_index_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("a.safetensors"), &[("x", 1.0), ("y", 2.0)]);
        write(&at("b.safetensors"), &[("x", 1.0), ("z", 3.0)]);
        let index = at("model.safetensors.index.json");
        let map = |map: &str| fs::write(&index, format!("{{\"weight_map\": {{{map}}}}}")).unwrap();
        let refused = |words: &str| {
            let error = open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        let good = r#""x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors""#;
        map(good);
        let (tensors, _) = open(folder.path()).unwrap();
        assert_eq!(
            ["x", "y", "z"].map(|name| value(&tensors, name)),
            [1.0, 2.0, 3.0]
        );
        map(&format!(r#"{good}, "w": "a.safetensors""#));
        refused("`w` should be here");
        for outside in [
            "../a.safetensors",
            "/etc/hostname",
            "..",
            "",
            "c/../a.safetensors",
            "/",
        ] {
            map(&format!(r#""x": "{outside}""#));
            refused("is not in its folder");
        }
        map(r#""x": "none.safetensors""#);
        refused("does not exist");
        map(good);
        write(&at("b.safetensors"), &[("x", 9.0), ("z", 3.0)]);
        refused("with other numbers");
        fs::remove_file(&index).unwrap();
        refused("with other numbers");
        fs::write(at("__0_0.distcp"), "").unwrap();
        refused("dcp_to_torch");
    }
}
