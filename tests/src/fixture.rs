//! Reading a fixture folder.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One stored tensor, as wide numbers: f32 and 32-bit integers are exact in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its numbers, row by row.
    pub values: Vec<f64>,
}

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
    looked_at: RefCell<BTreeSet<String>>,
}

/// Sub-folders that hold a `config.json` or weights, by name.
///
/// # Errors
/// If the folder cannot be listed.
pub fn fixtures_in(root: &Path) -> std::io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
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
    /// A sentence, if a file is missing or damaged.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, String> {
        let config = dir.join("config.json");
        let text = std::fs::read_to_string(&config).map_err(|e| format!("{config:?}: {e}"))?;
        let config = serde_json::from_str(&text).map_err(|e| format!("{config:?}: {e}"))?;
        let io = dir.join("io.safetensors");
        Ok(Self {
            dir: dir.to_owned(),
            name: dir
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            config,
            device: device.clone(),
            io: match io.is_file() {
                true => read_safetensors(&io)?,
                false => BTreeMap::new(),
            },
            looked_at: RefCell::default(),
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

    /// The stored tensors that nobody asked for.
    pub fn untouched(&self) -> Vec<&str> {
        let looked_at = self.looked_at.borrow();
        let names = self.io.keys().map(String::as_str);
        names.filter(|name| !looked_at.contains(*name)).collect()
    }

    /// Counts a tensor as an input, which needs no comparison.
    pub fn is_input(&self, name: &str) {
        self.looked_at.borrow_mut().insert(name.to_owned());
    }

    /// A stored tensor.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn stored(&self, name: &str) -> &Stored {
        self.is_input(name);
        let Some(stored) = self.io.get(name) else {
            panic!("{} stores no tensor {name}", self.name);
        };
        stored
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

    /// A whole number of the configuration.
    ///
    /// # Panics
    /// If there is none.
    pub fn number(&self, key: &str) -> usize {
        let Some(number) = self.config[key].as_u64() else {
            panic!("{}/config.json has no whole number {key:?}", self.name);
        };
        number as usize
    }

    /// A list of whole numbers of the configuration.
    ///
    /// # Panics
    /// If there is none.
    pub fn numbers(&self, key: &str) -> Vec<usize> {
        let Some(list) = self.config[key].as_array() else {
            panic!("{}/config.json has no list {key:?}", self.name);
        };
        let number = |x: &Value| x.as_u64().expect("a whole number") as usize;
        list.iter().map(number).collect()
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

/// Reads a whole safetensors file.
///
/// # Errors
/// A sentence, if the file is missing or damaged, or has numbers of an unusual kind.
pub fn read_safetensors(path: &Path) -> Result<BTreeMap<String, Stored>, String> {
    let fail = |e: String| format!("{}: {e}", path.display());
    let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let Some(values) = numbers(view.dtype(), view.data()) else {
            return Err(fail(format!("{name} holds {:?}", view.dtype())));
        };
        let dims = view.shape().to_vec();
        tensors.insert(name, Stored { dims, values });
    }
    Ok(tensors)
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&c| read(c)).collect()
    }
    Some(match dtype {
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::F32 => each(bytes, |c| f64::from(f32::from_le_bytes(c))),
        Dtype::I64 => each(bytes, |c| i64::from_le_bytes(c) as f64),
        Dtype::I32 => each(bytes, |c| f64::from(i32::from_le_bytes(c))),
        Dtype::I16 => each(bytes, |c| f64::from(i16::from_le_bytes(c))),
        Dtype::U8 | Dtype::BOOL => each(bytes, |[c]: [u8; 1]| f64::from(c)),
        Dtype::I8 => each(bytes, |[c]: [u8; 1]| f64::from(c as i8)),
        _ => return None,
    })
}
