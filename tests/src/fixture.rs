//! Reading a fixture folder.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use nextscale_weights::WeightError;
use serde_json::Value;

use crate::stored::{Stored, read_safetensors};

/// A folder with `config.json` and, in most of them, `io.safetensors`.
pub struct Fixture {
    /// The folder.
    pub dir: PathBuf,
    /// Its name, which says what kind of fixture it is.
    pub name: String,
    /// `config.json`.
    pub config: Value,
    /// Where tensors go.
    pub device: Device,
    io: BTreeMap<String, Stored>,
    read: RefCell<BTreeSet<String>>,
    exempt: Vec<String>,
}

/// Sub-folders that hold a `config.json` or weights, by name.
///
/// # Errors
/// If the folder cannot be listed.
pub fn fixtures_in(root: &Path) -> Result<BTreeMap<String, PathBuf>, WeightError> {
    let fail = |e: std::io::Error| WeightError::read(root, e);
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let files = ["config.json", "weights.pth", "weights.safetensors"];
        if files.iter().any(|file| path.join(file).is_file()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            found.insert(name.into_owned(), path.clone());
        }
    }
    Ok(found)
}

impl Fixture {
    /// Opens a folder.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, WeightError> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|e| WeightError::read(&path, e))?;
        let config = serde_json::from_str(&text).map_err(|e| WeightError::read(&path, e))?;
        let io = dir.join("io.safetensors");
        let name = dir.file_name().unwrap_or_default();
        Ok(Self {
            dir: dir.to_owned(),
            name: name.to_string_lossy().into_owned(),
            config,
            device: device.clone(),
            io: if io.is_file() {
                read_safetensors(&io)?
            } else {
                BTreeMap::new()
            },
            read: RefCell::default(),
            exempt: exempt(dir)?,
        })
    }

    /// Whether a tensor is stored.
    pub fn has(&self, name: &str) -> bool {
        self.io.contains_key(name)
    }

    /// Names of stored tensors that begin with `prefix`.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let names = self.io.keys().map(String::as_str);
        names.filter(move |name| name.starts_with(prefix))
    }

    /// The stored tensors that were neither compared nor used as an input.
    pub fn unread(&self) -> Vec<&str> {
        let read = self.read.borrow();
        let names = self.io.keys().map(String::as_str);
        names.filter(|name| !read.contains(*name)).collect()
    }

    /// Whether a README of this folder, or of the folder that holds it, lists the tensor as not compared:
    ///
    /// ```text
    /// Not compared: `lfq_mask`, `infinity-dev/tf_logits_bf16*`
    /// ```
    ///
    /// The names are in backquotes, may begin with the name of a fixture, and `*` stands for any text.
    pub fn is_exempt(&self, name: &str) -> bool {
        let full = format!("{}/{name}", self.name);
        let matches = |pattern: &String| matches(pattern, name) || matches(pattern, &full);
        self.exempt.iter().any(matches)
    }

    /// Marks a tensor as an input, which needs no comparison.
    pub fn is_input(&self, name: &str) {
        self.read.borrow_mut().insert(name.to_owned());
    }

    /// The shape of a stored tensor, which does not count as a comparison.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn dims(&self, name: &str) -> &[usize] {
        &self.find(name).dims
    }

    fn find(&self, name: &str) -> &Stored {
        let stored = self.io.get(name);
        stored.unwrap_or_else(|| panic!("{} stores no tensor {name}", self.name))
    }

    /// A stored tensor.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn stored(&self, name: &str) -> &Stored {
        self.is_input(name);
        self.find(name)
    }

    /// A stored tensor as floats.
    ///
    /// # Panics
    /// If there is none of that name, or it has another rank.
    pub fn float<const D: usize>(&self, name: &str) -> Tensor<D> {
        let stored = self.stored(name);
        let values: Vec<f32> = stored.values.iter().map(|&x| x as f32).collect();
        Tensor::from_data(
            TensorData::new(values, dims::<D>(name, stored)),
            &self.device,
        )
    }

    /// A stored tensor as integers.
    ///
    /// # Panics
    /// As [`Fixture::float`].
    pub fn int<const D: usize>(&self, name: &str) -> Tensor<D, Int> {
        let stored = self.stored(name);
        let values: Vec<i32> = stored.values.iter().map(|&x| x as i32).collect();
        Tensor::from_data(
            TensorData::new(values, dims::<D>(name, stored)),
            &self.device,
        )
    }

    /// A stored tensor as sizes.
    pub fn sizes(&self, name: &str) -> Vec<usize> {
        let values = self.stored(name).values.iter();
        values.map(|&x| x as usize).collect()
    }

    /// An integer of the configuration.
    ///
    /// # Panics
    /// If there is none.
    pub fn number(&self, key: &str) -> usize {
        let Some(number) = self.config[key].as_u64() else {
            panic!("{}/config.json has no integer {key:?}", self.name);
        };
        number as usize
    }

    /// A list of integers of the configuration.
    ///
    /// # Panics
    /// If there is none.
    pub fn numbers(&self, key: &str) -> Vec<usize> {
        let Some(list) = self.config[key].as_array() else {
            panic!("{}/config.json has no list {key:?}", self.name);
        };
        let number = |x: &Value| x.as_u64().expect("an integer") as usize;
        list.iter().map(number).collect()
    }

    /// A setting of the run: a key of the configuration or, where that has none, of its `args`.
    pub fn setting(&self, key: &str) -> &Value {
        let config = self.config.get(key);
        config.unwrap_or(&self.config["args"][key])
    }

    /// A number of the run's settings.
    ///
    /// # Panics
    /// If there is none.
    pub fn real(&self, key: &str) -> f64 {
        let number = self.setting(key).as_f64();
        number.unwrap_or_else(|| panic!("{}/config.json has no number {key:?}", self.name))
    }

    /// A switch of the run's settings: a boolean or a number. Off where there is none.
    pub fn flag(&self, key: &str) -> bool {
        let value = self.setting(key);
        value
            .as_bool()
            .unwrap_or(value.as_f64().unwrap_or(0.0) != 0.0)
    }

    /// The `.pth` twin of the weights: in the folder, or in the sibling whose name ends in `-pth`.
    pub fn pth(&self) -> Option<PathBuf> {
        let sibling = self.dir.with_file_name(format!("{}-pth", self.name));
        let candidates = [self.dir.join("weights.pth"), sibling.join("weights.pth")];
        candidates.into_iter().find(|path| path.is_file())
    }
}

fn dims<const D: usize>(name: &str, stored: &Stored) -> [usize; D] {
    let Ok(dims) = stored.dims.clone().try_into() else {
        panic!("{name} is stored as {:?}, not with rank {D}", stored.dims);
    };
    dims
}

/// The names that READMEs next to a fixture, or inside it, list in lines that begin with "Not compared:".
fn exempt(dir: &Path) -> Result<Vec<String>, WeightError> {
    let mut names = Vec::new();
    for folder in [Some(dir), dir.parent()].into_iter().flatten() {
        let fail = |e: std::io::Error| WeightError::read(folder, e);
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if file.starts_with("README") && path.is_file() {
                names.extend(listed(&std::fs::read_to_string(&path).map_err(fail)?));
            }
        }
    }
    Ok(names)
}

fn listed(readme: &str) -> Vec<String> {
    let lines = readme
        .lines()
        .map(|line| line.trim_start_matches([' ', '-', '*']));
    let lists = lines.filter_map(|line| line.strip_prefix("Not compared:"));
    let names = lists.flat_map(|list| list.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

/// Whether `name` is `pattern`, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readme_exempts_tensors() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("var-small");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(
            dir.join("config.json"),
            r#"{ "cfg": 3, "args": { "cfg": 4, "use_apg": 1 } }"#,
        )
        .unwrap();
        let text = "`logits` are compared.\n- Not compared: `mask`, `*_bf16_*`, `var-small/noise_*` (unused)\n";
        std::fs::write(root.path().join("README-of-all.md"), text).unwrap();
        let f = Fixture::open(&dir, &Device::flex()).unwrap();
        for name in ["mask", "logits_bf16_0", "noise_3"] {
            assert!(f.is_exempt(name), "{name}");
        }
        for name in ["logits", "masks", "bf16", "tf_noise_3"] {
            assert!(!f.is_exempt(name), "{name}");
        }
        assert_eq!(f.real("cfg"), 3.0);
        assert!(f.flag("use_apg") && !f.flag("use_cfg"));
    }
}
