//! The auto-encoder's weights in files, under the official names.
//!
//! Official names put `.conv` or `.norm` inside each layer (`encoder.conv_in.conv.weight`); older files leave it out.
//! Both load. `quantizer.lfq.mask` and its alias are constants and are passed over. A `.pth` file holds
//! `{"vae": names}`. Files are written under the official names, so that one reader serves all.

use std::path::Path;

use burn::{
    store::{
        FloatCastAdapter, KeyRemapper, ModuleSnapshot, ModuleStore, PytorchStore, SafetensorsStore,
        burn_pack::Tensor as FileTensor,
    },
    tensor::DType,
};
use thiserror::Error;

use super::BsqVae;

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
}

fn list(missing: &[String], unused: &[String], wrong: &[String]) -> String {
    let parts = [("missing", missing), ("unused", unused), ("wrong", wrong)];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<_> = parts
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    parts.join("; ")
}

/// The number format of a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileDType {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
}

/// Constants of the released quantiser, stored under two names; bits need neither.
fn is_constant(name: &str) -> bool {
    name == "quantizer.lfq.mask" || name == "quantize.lfq.mask"
}

/// The name of our field for an official name, old or new: the layers `.conv` and `.norm` in front of the parameter go.
fn field_name(name: &str) -> String {
    let Some((mut module, parameter)) = name.rsplit_once('.') else {
        return name.to_owned();
    };
    while let Some(outer) = module
        .strip_suffix(".conv")
        .or_else(|| module.strip_suffix(".norm"))
    {
        module = outer;
    }
    format!("{module}.{parameter}")
}

/// The official name of our field.
fn official_name(name: &str) -> String {
    let Some((module, parameter)) = name.rsplit_once('.') else {
        return name.to_owned();
    };
    let inner = match module.rsplit('.').next() {
        Some("downsample" | "upsample") => "conv.conv",
        Some(layer) if layer.starts_with("norm") => "norm",
        _ => "conv",
    };
    format!("{module}.{inner}.{parameter}")
}

fn file_error(path: &Path, error: impl std::fmt::Display) -> WeightsError {
    WeightsError::File {
        path: path.display().to_string(),
        message: error.to_string(),
    }
}

impl BsqVae {
    /// Loads official weights into this model, from `.safetensors` (memory-mapped) or `.pth`, as f32.
    ///
    /// # Errors
    /// If the file cannot be read, or if any tensor is missing, unknown or of another shape: all of them are listed.
    pub fn load(self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let tensors = if path.extension().is_some_and(|e| e == "safetensors") {
            let mut store = SafetensorsStore::from_file(path);
            store
                .get_all_tensors()
                .map_err(|e| file_error(path, e))?
                .clone()
        } else {
            let mut store = PytorchStore::from_file(path)
                .with_top_level_key("vae")
                .map_indices_contiguous(false);
            store
                .get_all_tensors()
                .map_err(|e| file_error(path, e))?
                .clone()
        };
        self.apply_official(tensors.into_values(), path)
    }

    /// Loads official weights from the bytes of a `.safetensors` file, as [`BsqVae::load`] does.
    ///
    /// # Errors
    /// As for [`BsqVae::load`].
    pub fn load_bytes(self, bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let path = Path::new("weights in memory");
        let mut store = SafetensorsStore::from_bytes(Some(bytes));
        let tensors = store.get_all_tensors().cloned();
        let tensors = tensors.map_err(|e| file_error(path, e))?;
        self.apply_official(tensors.into_values(), path)
    }

    fn apply_official(
        mut self,
        tensors: impl Iterator<Item = FileTensor>,
        path: &Path,
    ) -> Result<Self, WeightsError> {
        let tensors = tensors.filter(|t| !is_constant(&t.name));
        let tensors = tensors
            .map(|mut t| {
                t.name = field_name(&t.name);
                t
            })
            .collect();
        let to_f32 = Box::new(FloatCastAdapter::to(DType::F32));
        let result = self.apply(tensors, None, Some(to_f32), true);
        let missing = result.missing.iter().map(|(name, _)| official_name(name));
        let missing: Vec<_> = missing.collect();
        let unused: Vec<_> = result.unused.iter().map(|n| official_name(n)).collect();
        let wrong: Vec<_> = result.errors.iter().map(ToString::to_string).collect();
        if missing.is_empty() && unused.is_empty() && wrong.is_empty() {
            return Ok(self);
        }
        Err(WeightsError::Mismatch {
            path: path.display().to_string(),
            missing,
            unused,
            wrong,
        })
    }

    /// Writes the weights as safetensors under the official names. An existing file is replaced.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, dtype: FileDType) -> Result<(), WeightsError> {
        let path = path.as_ref();
        let dtype = match dtype {
            FileDType::F32 => DType::F32,
            FileDType::F16 => DType::F16,
        };
        let names = KeyRemapper::from_patterns(vec![
            (r"((?:down|up)sample)\.(weight|bias)$", "$1.conv.conv.$2"),
            (r"(norm\w*)\.(weight|bias)$", "$1.norm.$2"),
            (r"(conv_?\w+|nin_shortcut)\.(weight|bias)$", "$1.conv.$2"),
        ])
        .map_err(|e| file_error(path, e))?;
        let mut store = SafetensorsStore::from_file(path)
            .overwrite(true)
            .remap(names)
            .with_to_adapter(FloatCastAdapter::to(dtype));
        self.save_into(&mut store).map_err(|e| file_error(path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (official, old, ours) in [
            (
                "encoder.conv_in.conv.weight",
                "encoder.conv_in.weight",
                "encoder.conv_in.weight",
            ),
            (
                "encoder.down.0.downsample.conv.conv.bias",
                "encoder.down.0.downsample.conv.bias",
                "encoder.down.0.downsample.bias",
            ),
            (
                "decoder.up.1.block.0.norm1.norm.weight",
                "decoder.up.1.block.0.norm1.weight",
                "decoder.up.1.block.0.norm1.weight",
            ),
        ] {
            assert_eq!(field_name(official), ours);
            assert_eq!(field_name(old), ours);
            assert_eq!(official_name(ours), official);
        }
    }
}
