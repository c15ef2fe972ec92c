//! The weights of VAR's tokenizer in files, under the official names.

use std::collections::BTreeMap;
use std::path::Path;

use burn::{store::ModuleSnapshot, tensor::Device};
use nextscale_weights::{Names, ShapeError, WeightDtype, WeightError, WeightFile};

use super::config::VqVaeConfig;
use super::model::{VqCodes, VqVae};

/// Usage of each code while the released tokenizer was trained.
const USAGE: &str = "quantize.ema_vocab_hit_SV";
const CODEBOOK: &str = "quantize.embedding.weight";
const PHI: &str = "quantize.quant_resi.qresi_ls.";

const NAMES: Names = Names {
    ours: field_name,
    official: official_name,
};

impl VqVaeConfig {
    /// The configuration of a checkpoint in the official layout, from the shapes of its tensors. The weight of phi and the
    /// groups of the norms do not show in the shapes; they are those of the released tokenizer.
    ///
    /// # Errors
    /// If the file cannot be read, or is not such a checkpoint.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self, WeightError> {
        let path = path.as_ref();
        let file = WeightFile::open(path)?;
        Self::of_shapes(&file).map_err(|e| WeightError::read(path, e))
    }

    fn of_shapes(file: &WeightFile) -> Result<Self, ShapeError> {
        let shape = |name: &str, rank: usize| file.shape_of(name, rank, "a VAR tokenizer");
        let count = |name: &dyn Fn(usize) -> String| {
            (0..)
                .take_while(|&i| file.shape(&name(i)).is_some())
                .count()
        };
        let book = shape(CODEBOOK, 2)?;
        let base = shape("encoder.conv_in.weight", 4)?[0].max(1);
        let level = |l: usize| format!("encoder.down.{l}.block.0.conv2.weight");
        let mult = (0..count(&level)).map(|l| Ok(shape(&level(l), 4)?[0] / base));
        let shared = count(&|i| format!("{PHI}{i}.weight"));
        let own = count(&|i| format!("quantize.quant_resi.{i}.weight"));
        let config = Self {
            vocabulary: book[0],
            channels: book[1],
            base_channels: base,
            mult: mult.collect::<Result<_, _>>()?,
            blocks: count(&|b| format!("encoder.down.0.block.{b}.conv2.weight")),
            phis: shared.max(own).max(1),
            ..Self::released()
        };
        let groups = config.norm_groups;
        if base.is_multiple_of(groups) && !config.mult.is_empty() {
            Ok(config)
        } else {
            Err(ShapeError::Unreleased(format!(
                "{base} channels do not split into the {groups} groups of the released norms"
            )))
        }
    }

    /// Official names and shapes of a weight file. The statistics of code usage, `quantize.ema_vocab_hit_SV`, are optional
    /// and not listed.
    pub fn keys(&self) -> BTreeMap<String, Vec<usize>> {
        NAMES.keys(&self.init(&Device::flex()))
    }
}

impl VqCodes {
    /// Loads them from the official weights of a whole auto-encoder, as [`VqVae::read`] does.
    ///
    /// # Errors
    /// See [`VqVae::load`].
    pub fn read(mut self, mut file: WeightFile) -> Result<Self, WeightError> {
        file.forget(|name| !name.starts_with("quantize."));
        fill(&mut self, file)?;
        Ok(self)
    }
}

impl VqVae {
    /// Loads official weights, a `.safetensors` or PyTorch file, as f32. The file's statistics of code usage are
    /// ignored.
    ///
    /// # Errors
    /// If the file cannot be read, or a tensor is missing, unknown, of another shape or not finite.
    pub fn load(self, path: impl AsRef<Path>) -> Result<Self, WeightError> {
        self.read(WeightFile::open(path.as_ref())?)
    }

    /// As [`VqVae::load`], from an open file.
    ///
    /// # Errors
    /// See [`VqVae::load`].
    pub fn read(mut self, file: WeightFile) -> Result<Self, WeightError> {
        fill(&mut self, file)?;
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

/// Fills `module` with official weights, as f32.
fn fill<M: ModuleSnapshot>(module: &mut M, mut file: WeightFile) -> Result<(), WeightError> {
    file.forget(|name| name == USAGE);
    NAMES.fill(module, file)
}

fn field_name(official: &str) -> String {
    if official == CODEBOOK {
        return "codebook.embedding".to_owned();
    }
    // Shared between neighbours, one for all scales, or one per scale.
    let rest = official.strip_prefix("quantize.quant_resi.");
    match rest.map(|rest| rest.strip_prefix("qresi_ls.").unwrap_or(rest)) {
        Some(rest) => match rest.strip_prefix("qresi.") {
            Some(parameter) => format!("phi.convs.0.{parameter}"),
            None => format!("phi.convs.{rest}"),
        },
        None => official.to_owned(),
    }
}

fn official_name(ours: &str) -> String {
    match ours.strip_prefix("phi.convs.") {
        Some(rest) => format!("{PHI}{rest}"),
        None if ours == "codebook.embedding" => CODEBOOK.to_owned(),
        None => ours.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for name in [
            "quantize.embedding.weight",
            "quantize.quant_resi.qresi_ls.2.bias",
            "encoder.down.4.attn.0.norm.weight",
        ] {
            assert_eq!(official_name(&field_name(name)), name);
        }
        let shared = field_name("quantize.quant_resi.qresi.weight");
        assert_eq!(shared, "phi.convs.0.weight");
        let own = field_name("quantize.quant_resi.3.weight");
        assert_eq!(own, "phi.convs.3.weight");
    }
}
