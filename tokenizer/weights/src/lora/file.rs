//! An adapter file, and what it adds to the weights of a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::store::bridge;
use burn::tensor::{DType, TensorData};
use rayon::prelude::*;
use serde_json::Value;

use super::names::{Role, flat, parse, unchunked};
use crate::convert::convert;
use crate::error::WeightError;
use crate::file::WeightFile;
use crate::format;

/// The weights of an adapter folder of PEFT, under the names that it gives them.
const PEFT_FILES: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// The description beside them.
const PEFT_CONFIG: &str = "adapter_config.json";

/// A low-rank adapter: for some layers of a model two thin matrices, whose product is added to the layer's weights.
#[derive(Debug, Clone)]
pub struct Lora {
    path: PathBuf,
    layers: BTreeMap<String, Layer>,
}

/// What is added to one layer.
#[derive(Debug, Clone)]
struct Layer {
    /// `[r, in]`.
    down: TensorData,
    /// `[out, r]`.
    up: TensorData,
    /// The factor on their product: the strength over the rank.
    scale: f32,
}

impl Layer {
    fn rank(&self) -> usize {
        self.down.shape()[0]
    }

    /// The shape of the weights that it changes.
    fn shape(&self) -> [usize; 2] {
        [self.up.shape()[0], self.down.shape()[1]]
    }
}

/// What is read of a layer before it is known to be complete.
#[derive(Default)]
struct Found {
    down: Option<TensorData>,
    up: Option<TensorData>,
    alpha: Option<f64>,
}

/// The strength of all layers that state none.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Strength {
    /// This one, and whether it is divided by the root of the rank instead of the rank.
    Stated { alpha: f64, by_root: bool },
    /// The rank: the product is added as it is.
    Rank,
    /// PEFT keeps it in a file that is missing.
    Missing,
}

impl Lora {
    /// Reads an adapter: a `.safetensors` or PyTorch file of PEFT, kohya's scripts or diffusers, or a folder of PEFT.
    ///
    /// # Errors
    /// [`WeightError`] for a file that cannot be read, that is another kind of adapter or none, that is incomplete, or that
    /// holds numbers that are not finite.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let file = adapter_file(path)?;
        let weights = WeightFile::open(&file)?;
        let strength = strength(&file, &weights)?;
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        for name in weights.names() {
            let (role, layer) = parse(name).map_err(|why| WeightError::read(&file, why))?;
            let data = number(&file, name, weights.read(name)?)?;
            let layer = found.entry(layer).or_default();
            match role {
                Role::Down => layer.down = Some(data),
                Role::Up => layer.up = Some(data),
                Role::Alpha => layer.alpha = data.iter::<f32>().next().map(f64::from),
            }
        }
        if found.is_empty() {
            return Err(WeightError::read(&file, "it has no tensors"));
        }
        let layers = found
            .into_iter()
            .map(|(name, found)| Ok((name.clone(), complete(&file, &name, found, strength)?)));
        Ok(Self {
            layers: layers.collect::<Result<_, WeightError>>()?,
            path: file,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of layers that it changes.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The largest rank of its layers.
    pub fn rank(&self) -> usize {
        self.layers.values().map(Layer::rank).max().unwrap_or(0)
    }

    /// The layer that changes each tensor of these names, which are official ones, and their shapes.
    fn targets<'a>(
        &'a self,
        tensors: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Vec<(String, &'a Layer)>, WeightError> {
        let misfit = |reasons| WeightError::Mismatch {
            path: self.path.clone(),
            reasons,
        };
        let matrices: Vec<&String> = tensors
            .iter()
            .filter(|(name, shape)| name.ends_with(".weight") && shape.len() == 2)
            .map(|(name, _)| name)
            .collect();
        let stems = matrices
            .iter()
            .map(|name| flat(name.trim_end_matches(".weight")));
        let stems: Vec<String> = stems.collect();
        let plain = unchunked(stems.iter().map(String::as_str));
        let by_name: BTreeMap<&str, &String> =
            plain.iter().map(String::as_str).zip(matrices).collect();
        let own = unchunked(self.layers.keys().map(String::as_str));
        let (mut targets, mut unknown, mut wrong) = (vec![], vec![], vec![]);
        for (name, layer) in own.iter().zip(self.layers.values()) {
            let Some(&tensor) = by_name.get(name.as_str()) else {
                unknown.push(format!("`{name}`"));
                continue;
            };
            let shape = tensors[tensor].as_slice();
            if shape != layer.shape() {
                let own = layer.shape();
                wrong.push(format!(
                    "`{tensor}` has shape {shape:?}, the adapter is for {own:?}"
                ));
                continue;
            }
            targets.push((tensor.clone(), layer));
        }
        if !unknown.is_empty() {
            let all = self.layers.len();
            let reason = format!(
                "the model lacks {} of the adapter's {all} layers, such as {}: it was trained for another model",
                unknown.len(),
                unknown[0]
            );
            return Err(misfit(vec![reason]));
        }
        if !wrong.is_empty() {
            return Err(misfit(wrong));
        }
        Ok(targets)
    }

    /// Refuses tensors of these official names and shapes that the adapter does not fit.
    ///
    /// # Errors
    /// [`WeightError::Mismatch`], which names the first layers that do not fit.
    pub fn check(&self, tensors: &BTreeMap<String, Vec<usize>>) -> Result<(), WeightError> {
        self.targets(tensors).map(drop)
    }
}

impl WeightFile {
    /// Adds an adapter, times `weight`, to the tensors, which have official names. It is added to each in f32 as it is read.
    /// With `keep_dtype` the sum is rounded to the number format of the file.
    ///
    /// # Errors
    /// [`WeightError::Mismatch`] if the adapter has layers that the file lacks, or of other shapes.
    pub fn add_lora(
        &mut self,
        lora: &Lora,
        weight: f64,
        keep_dtype: bool,
    ) -> Result<(), WeightError> {
        let shapes = self.shapes();
        for (name, layer) in lora.targets(&shapes)? {
            let layer = layer.clone();
            let scale = layer.scale * weight as f32;
            self.change(
                &name,
                move |data| {
                    let stored = data.dtype();
                    let sum = added(data, &layer, scale);
                    if keep_dtype {
                        convert(&sum, stored).map_or_else(|| sum.clone(), |(data, _)| data)
                    } else {
                        sum
                    }
                },
                keep_dtype,
            );
        }
        Ok(())
    }
}

/// `w + scale up down` in f32.
fn added(data: TensorData, layer: &Layer, scale: f32) -> TensorData {
    let shape = data.shape().to_vec();
    let data = match convert(&data, DType::F32) {
        Some((data, _)) => data,
        None => data.convert_dtype(DType::F32),
    };
    let mut sum: Vec<f32> = data.try_into_vec().expect("the numbers are f32");
    let numbers = |data: &TensorData| data.iter::<f32>().collect::<Vec<f32>>();
    let (up, down) = (numbers(&layer.up), numbers(&layer.down));
    let (r, n) = (layer.rank(), layer.shape()[1]);
    let rows = sum.par_chunks_mut(n.max(1)).zip(up.par_chunks(r.max(1)));
    rows.for_each(|(row, up)| {
        for (up, down) in up.iter().zip(down.chunks_exact(n)) {
            let factor = up * scale;
            row.iter_mut().zip(down).for_each(|(w, d)| *w += factor * d);
        }
    });
    TensorData::new(sum, shape)
}

/// The file of an adapter that may be a folder.
fn adapter_file(path: &Path) -> Result<PathBuf, WeightError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let files = PEFT_FILES.iter().map(|name| path.join(name));
    files
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| {
            WeightError::read(
                path,
                format!("the folder has no {}", PEFT_FILES.join(" and no ")),
            )
        })
}

/// A tensor in f32, whose numbers are finite.
fn number(path: &Path, name: &str, data: TensorData) -> Result<TensorData, WeightError> {
    match convert(&data, DType::F32) {
        Some((data, true)) => Ok(data),
        Some((_, false)) => Err(WeightError::Numbers {
            path: path.to_owned(),
            tensors: vec![name.to_owned()],
        }),
        None => Ok(data.convert_dtype(DType::F32)),
    }
}

fn complete(
    path: &Path,
    name: &str,
    found: Found,
    strength: Strength,
) -> Result<Layer, WeightError> {
    let fail = |why: String| WeightError::read(path, why);
    let (Some(down), Some(up)) = (found.down, found.up) else {
        return Err(fail(format!("`{name}` has only one of its two matrices")));
    };
    let (&[r, _], &[_, rank]) = (&down.shape()[..], &up.shape()[..]) else {
        return Err(fail(format!(
            "`{name}` is no linear layer: its adapter has shapes {:?} and {:?}",
            down.shape(),
            up.shape()
        )));
    };
    if r != rank || r == 0 {
        return Err(fail(format!(
            "the matrices of `{name}` have the ranks {r} and {rank}"
        )));
    }
    let scale = match (found.alpha, strength) {
        (Some(alpha), _) => alpha / r as f64,
        (None, Strength::Rank) => 1.0,
        (
            None,
            Strength::Stated {
                alpha,
                by_root: true,
            },
        ) => alpha / (r as f64).sqrt(),
        (None, Strength::Stated { alpha, .. }) => alpha / r as f64,
        (None, Strength::Missing) => {
            return Err(fail(format!(
                "its strength is unknown: put PEFT's {PEFT_CONFIG} beside it"
            )));
        }
    };
    Ok(Layer {
        down,
        up,
        scale: scale as f32,
    })
}

/// The strength of layers that have no tensor for it: in the header of the file, or in the description beside it.
fn strength(path: &Path, weights: &WeightFile) -> Result<Strength, WeightError> {
    let notes = format::notes(path);
    let note = |key: &str| notes.get(key)?.parse::<f64>().ok();
    if let Some(alpha) = note("lora_alpha").or_else(|| note("ss_network_alpha")) {
        let by_root = notes.get("use_rslora").is_some_and(|value| value == "true");
        return Ok(Strength::Stated { alpha, by_root });
    }
    let config = path.with_file_name(PEFT_CONFIG);
    if config.is_file() {
        return of_config(&config);
    }
    let of_peft = weights.names().any(|name| name.starts_with("base_model."));
    Ok(if of_peft {
        Strength::Missing
    } else {
        Strength::Rank
    })
}

/// What the description of PEFT says.
fn of_config(path: &Path) -> Result<Strength, WeightError> {
    let fail = |why: &dyn std::fmt::Display| WeightError::read(path, why);
    let text = std::fs::read(path).map_err(|e| fail(&e))?;
    let config: Value = serde_json::from_slice(&text).map_err(|e| fail(&e))?;
    let is_on = |key: &str| config[key].as_bool().unwrap_or(false);
    let kind = config["peft_type"].as_str().unwrap_or("LORA");
    if kind != "LORA" || is_on("use_dora") {
        let kind = if is_on("use_dora") { "DoRA" } else { kind };
        return Err(fail(&format!(
            "it is an adapter of the kind {kind}, which is not supported; LoRA is"
        )));
    }
    let has_own = |key: &str| config[key].as_object().is_some_and(|map| !map.is_empty());
    if has_own("alpha_pattern") {
        return Err(fail(
            &"it has an alpha_pattern, which is not supported: merge the adapter with PEFT",
        ));
    }
    let alpha = config["lora_alpha"].as_f64();
    Ok(Strength::Stated {
        alpha: alpha.ok_or_else(|| fail(&"it has no lora_alpha"))?,
        by_root: is_on("use_rslora"),
    })
}

/// A tensor that is changed as it is read; its format becomes f32 unless it keeps its own.
impl WeightFile {
    fn change(
        &mut self,
        name: &str,
        change: impl Fn(TensorData) -> TensorData + Send + Sync + 'static,
        keep_dtype: bool,
    ) {
        if let Some(tensor) = self.remove(name) {
            let (dtype, shape) = (tensor.dtype, tensor.shape.clone());
            let dtype = if keep_dtype { dtype } else { DType::F32 };
            self.insert(bridge::map_data(
                tensor,
                name.to_owned(),
                dtype,
                shape,
                change,
            ));
        }
    }
}
