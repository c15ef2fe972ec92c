//! Weight files of the auto-encoder, under the official names.
//!
//! A `.pth` file holds `{"vae": names}`. `proj_*_two` are parameters that nothing uses and the masks of the quantiser
//! constants (stored under two names): they are passed over when reading and not written.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use nextscale_weights::{Names, WeightDtype, WeightError, WeightFile};

use super::{config::InfinityStarVaeConfig, model::InfinityStarVae};

const NAMES: Names = Names {
    ours: field_name,
    official: official_name,
};

/// Parts of our names and of the official ones, without the `.conv` of each convolution.
const PARTS: [(&str, &str); 11] = [
    (".down.conv.", ".downsamplers.0.conv.conv."),
    (".down.norm.", ".downsamplers.0.conv.norm."),
    (".up.conv.", ".upsamplers.0.conv.conv."),
    (".up.norm.", ".upsamplers.0.conv.norm."),
    ("encoder.levels.", "encoder.down_blocks."),
    ("decoder.levels.", "decoder.up_blocks."),
    (".mid.", ".mid_block.resnets."),
    (".blocks.", ".resnets."),
    ("1.norm.gamma", "1.norm_layer.gamma"),
    ("2.norm.gamma", "2.norm_layer.gamma"),
    ("out.norm.gamma", "out.norm_layer.gamma"),
];

const SCALE: (&str, &str) = ("scale", "scale_learnable_parameters");

/// Whether a tensor of the released files is not used.
pub fn is_unused(name: &str) -> bool {
    name.starts_with("proj_down_two.")
        || name.starts_with("proj_up_two.")
        || (name.starts_with("quantize") && name.ends_with(".mask"))
}

/// Module and parameter of a convolution of encoder or decoder; the official name of the module ends in `.conv`.
fn convolution(name: &str) -> Option<(&str, &str)> {
    let (module, parameter) = name.rsplit_once('.')?;
    let inside = name.starts_with("encoder.") || name.starts_with("decoder.");
    (inside && parameter != "gamma").then_some((module, parameter))
}

/// Our field for an official name.
fn field_name(official: &str) -> String {
    if official == SCALE.1 {
        return SCALE.0.to_owned();
    }
    let mut name = official.to_owned();
    if let Some((module, parameter)) = convolution(official) {
        let module = module.strip_suffix(".conv").unwrap_or(module);
        name = format!("{module}.{parameter}");
    }
    PARTS
        .iter()
        .fold(name, |name, (ours, theirs)| name.replace(theirs, ours))
}

/// The official name of our field.
fn official_name(ours: &str) -> String {
    if ours == SCALE.0 {
        return SCALE.1.to_owned();
    }
    let name = PARTS.iter().fold(ours.to_owned(), |name, (ours, theirs)| {
        name.replace(ours, theirs)
    });
    match convolution(&name) {
        Some((module, parameter)) => format!("{module}.conv.{parameter}"),
        None => name,
    }
}

impl InfinityStarVaeConfig {
    /// Official names and shapes of the tensors of a weight file, without unused ones.
    pub fn keys(&self) -> BTreeMap<String, Vec<usize>> {
        NAMES.keys(&self.init(&Device::flex()))
    }
}

impl InfinityStarVae {
    /// Loads official weights, a `.safetensors` or PyTorch file, as f32.
    ///
    /// # Errors
    /// If the file cannot be read, or if a tensor is missing, unknown, not finite or has another shape.
    pub fn load(self, path: impl AsRef<Path>) -> Result<Self, WeightError> {
        self.read(WeightFile::open(path.as_ref())?)
    }

    /// [`InfinityStarVae::load`] from an open file.
    ///
    /// # Errors
    /// See [`InfinityStarVae::load`].
    pub fn read(mut self, mut file: WeightFile) -> Result<Self, WeightError> {
        file.forget(is_unused);
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
        for (official, ours) in [
            ("scale_learnable_parameters", "scale"),
            ("proj_up.weight", "proj_up.weight"),
            ("encoder.conv_in.conv.weight", "encoder.conv_in.weight"),
            (
                "encoder.down_blocks.1.downsamplers.0.conv.conv.conv.bias",
                "encoder.levels.1.down.conv.bias",
            ),
            (
                "encoder.down_blocks.1.downsamplers.0.conv.norm.gamma",
                "encoder.levels.1.down.norm.gamma",
            ),
            (
                "decoder.up_blocks.3.resnets.2.norm1.conv_y.conv.weight",
                "decoder.levels.3.blocks.2.norm1.conv_y.weight",
            ),
            (
                "decoder.up_blocks.3.resnets.2.norm1.norm_layer.gamma",
                "decoder.levels.3.blocks.2.norm1.norm.gamma",
            ),
            (
                "decoder.mid_block.resnets.0.conv2.conv.bias",
                "decoder.mid.0.conv2.bias",
            ),
            ("encoder.norm_out.gamma", "encoder.norm_out.gamma"),
        ] {
            assert_eq!(field_name(official), ours);
            assert_eq!(official_name(ours), official);
        }
    }

    #[test]
    fn every_released_name_goes_both_ways() {
        for name in InfinityStarVaeConfig::infinitystar().keys().keys() {
            assert_eq!(&official_name(&field_name(name)), name);
        }
    }
}
