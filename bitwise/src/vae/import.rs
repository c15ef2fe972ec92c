//! Weight files of the auto-encoder, under the official names.
//!
//! Official names have `.conv` or `.norm` inside each layer (`encoder.conv_in.conv.weight`); older files omit it. Both
//! load. `quantizer.lfq.mask` and its alias are constants and are ignored. A `.pth` file holds `{"vae": tensors}`. Files
//! are written under the official names, so one reader serves all.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use nextscale_weights::{Names, WeightDtype, WeightError, WeightFile};

use super::model::{BsqVae, BsqVaeConfig};

const NAMES: Names = Names {
    ours: field_name,
    official: official_name,
};

/// Whether a tensor is a constant of the released quantiser, stored under two names. Neither is needed.
pub fn is_constant(name: &str) -> bool {
    name == "quantizer.lfq.mask" || name == "quantize.lfq.mask"
}

/// Our field for an official name, old or new: without `.conv` and `.norm` before the parameter.
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

/// The current official name for an official name, old or current.
pub fn newest_name(official: &str) -> String {
    if is_constant(official) {
        official.to_owned()
    } else {
        official_name(&field_name(official))
    }
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

impl BsqVaeConfig {
    /// Official names and shapes of the tensors of a weight file, without the constants of the quantiser.
    pub fn keys(&self) -> BTreeMap<String, Vec<usize>> {
        NAMES.keys(&self.init(&Device::flex()))
    }

    /// Names and shapes that a complete file should hold, given the `shapes` that it does hold, for a tokenizer of any size;
    /// `None` if the file holds no tokenizer.
    pub fn keys_like(
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Option<BTreeMap<String, Vec<usize>>> {
        let side = |name: &str, axis: usize| shapes.get(name)?.get(axis).copied();
        let width = |part: &str, level: usize| {
            side(&format!("{part}.{level}.block.0.conv2.conv.weight"), 0)
        };
        let blocks = |part: &str| {
            let name = |i: &usize| format!("{part}.0.block.{i}.conv2.conv.weight");
            (0..).take_while(|i| shapes.contains_key(&name(i))).count()
        };
        let base = side("encoder.conv_in.conv.weight", 0)?.max(1);
        let mult = |part: &str| -> Vec<usize> {
            let widths = (0..).map_while(|level| width(part, level));
            widths.map(|width| width / base).collect()
        };
        let pixels = side("encoder.conv_in.conv.weight", 1)? / 3;
        let config = Self {
            bits: side("encoder.conv_out.conv.weight", 0)?,
            base_channels: base,
            encoder_mult: mult("encoder.down"),
            decoder_mult: mult("decoder.up"),
            encoder_blocks: blocks("encoder.down"),
            decoder_blocks: blocks("decoder.up"),
            norm_groups: Some(1), // not visible in the shapes
            pixel_patch: pixels.isqrt().max(1),
        };
        let complete = !config.encoder_mult.is_empty()
            && config.encoder_mult.len() == config.decoder_mult.len();
        complete.then(|| config.keys())
    }

    /// The configuration of a released tokenizer, from the shapes of its tensors.
    ///
    /// # Errors
    /// If the file cannot be read, or is not such a checkpoint.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self, WeightError> {
        let path = path.as_ref();
        let file = WeightFile::open(path)?.renamed(field_name);
        let conv_out = file.shape_of("encoder.conv_out.weight", 4, "an Infinity tokenizer");
        let bits = conv_out.map_err(|e| WeightError::read(path, e))?[0];
        let level = |l: &usize| {
            let name = format!("encoder.down.{l}.block.0.conv1.weight");
            file.shape(&name).is_some()
        };
        match (0..).take_while(level).count() {
            5 => Ok(Self::stride_16(bits)),
            4 => Ok(Self {
                bits,
                ..Self::stride_8_patchify()
            }),
            levels => Err(WeightError::read(
                path,
                format!("the tokenizer has {levels} levels; the released ones have 5 or 4"),
            )),
        }
    }
}

impl BsqVae {
    /// Loads official weights, a `.safetensors` or PyTorch file, as f32.
    ///
    /// # Errors
    /// If the file cannot be read, or if a tensor is missing, unknown, not finite or has another shape.
    pub fn load(self, path: impl AsRef<Path>) -> Result<Self, WeightError> {
        self.read(WeightFile::open(path.as_ref())?)
    }

    /// [`BsqVae::load`] from an open file.
    ///
    /// # Errors
    /// See [`BsqVae::load`].
    pub fn read(mut self, mut file: WeightFile) -> Result<Self, WeightError> {
        file.forget(is_constant);
        NAMES.fill(&mut self, file)?;
        Ok(self)
    }

    /// Writes the weights as safetensors under the official names. An existing file is replaced.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, dtype: WeightDtype) -> Result<(), WeightError> {
        NAMES.save(self, path.as_ref(), dtype)
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
