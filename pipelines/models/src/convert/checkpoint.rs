//! A checkpoint rewritten as one safetensors file: any layout that is read here in, official names out.
//!
//! Tensors go through one by one, so a model larger than the memory converts as well, and the file has its name only once it
//! is complete.

use std::collections::BTreeMap;
use std::path::Path;

use nextscale_bitwise::import::{infinity_config, infinity_keys, is_stale};
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_bitwise::vae::import::{is_constant, newest_name};
use nextscale_text::T5Config;
use nextscale_text::import as t5;
use nextscale_tokenizer::VqVaeConfig;
use nextscale_var_core::var::var_keys_like;
use nextscale_video::infinity_star::{infinity_star_config, infinity_star_keys, is_unread};
use nextscale_video::vae::{InfinityStarVaeConfig, is_unused};

use super::write::{ConvertedDtype, Selection, VAR_MASK, in_blocks, in_layers, unusable, write};
use crate::error::ModelError;
use crate::lora::{Adapter, LoraChoice};
use crate::manifest::Architecture;
use crate::released::architecture_of;
use nextscale_files::atomic_file::folder_of;
use nextscale_weights::{ShapeError, WeightError, WeightFile};

/// A checkpoint that was recognised and found complete; no tensor is read.
pub struct Conversion {
    file: WeightFile,
    layout: Layout,
    names: Vec<String>,
    /// Those of the names that the model does not need.
    loose: Vec<String>,
}

/// Names and shapes of what a model needs.
type Keys = BTreeMap<String, Vec<usize>>;

impl Conversion {
    /// Opens a checkpoint: a PyTorch file, a `.safetensors` file, or a folder or index of shards.
    ///
    /// # Errors
    /// A file that cannot be read, that is of no known model, or that lacks tensors or has unknown ones.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = WeightFile::open(path).map_err(|e| unusable(path, e))?;
        let (layout, file) = recognise(path, file)?;
        check(path, &layout, &file)?;
        let names: Vec<String> = file.names().map(str::to_owned).collect();
        let loose = names.iter().filter(|name| (layout.is_loose)(name));
        Ok(Self {
            loose: loose.cloned().collect(),
            layout,
            names,
            file,
        })
    }

    /// Adds adapters to the weights. Each sum is rounded to the number type of the file unless it is written in another one.
    ///
    /// # Errors
    /// An adapter that cannot be read or was trained for another model; weights that are no transformer's.
    pub fn merge(
        &mut self,
        choices: &[LoraChoice],
        dtype: ConvertedDtype,
    ) -> Result<(), ModelError> {
        let name = self.file.path().display().to_string();
        if !self.layout.is_transformer && !choices.is_empty() {
            let message = format!("is {}: adapters are for transformers", self.layout.kind);
            return Err(ModelError::Content {
                path: self.file.path().to_owned(),
                message,
                hint: None,
            });
        }
        let keep_dtype = dtype == ConvertedDtype::Unchanged;
        for choice in choices {
            Adapter::open(choice)?.add_to(&name, &mut self.file, keep_dtype)?;
        }
        Ok(())
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        self.layout.kind
    }

    /// Writes it in a number type. `go_on` is told the bytes written so far and of how many; false stops.
    ///
    /// # Errors
    /// Numbers that are not finite in that format, a file that cannot be written, and [`ModelError::Cancelled`]; nothing
    /// is left then, and a file that was there before stays.
    pub fn write(
        &self,
        out: &Path,
        dtype: ConvertedDtype,
        go_on: impl FnMut(u64, u64) -> bool,
    ) -> Result<(), ModelError> {
        let selection = Selection {
            names: &self.names,
            loose: &self.loose,
            is_large: self.layout.is_large,
        };
        write(&self.file, &selection, dtype, out, go_on)
    }
}

/// What a checkpoint is, and what it should hold.
struct Layout {
    kind: &'static str,
    keys: Keys,
    /// Whether a tensor goes along although the model does not need it: constants and statistics.
    is_loose: fn(&str) -> bool,
    /// Whether a tensor is rounded to 8 bits, if it is a matrix or a kernel.
    is_large: fn(&str) -> bool,
    is_transformer: bool,
}

impl Layout {
    /// One that has nothing but what the model needs.
    fn strict(kind: &'static str, keys: Keys) -> Self {
        let is_loose = |_: &str| false;
        Self {
            kind,
            keys,
            is_loose,
            is_large: in_layers,
            is_transformer: false,
        }
    }

    /// The same of a transformer.
    fn transformer(kind: &'static str, keys: Keys) -> Self {
        Self {
            is_large: in_blocks,
            is_transformer: true,
            ..Self::strict(kind, keys)
        }
    }
}

/// What a checkpoint is by its names, with them brought to the newest official ones.
fn recognise(path: &Path, mut file: WeightFile) -> Result<(Layout, WeightFile), ModelError> {
    if let Some(architecture) = architecture_of(&file) {
        let layout = transformer(path, architecture, &mut file)?;
        return Ok((layout, file));
    }
    let has = |name: &str| file.shape(name).is_some();
    if has("quantize.embedding.weight") {
        let config = VqVaeConfig::of_file(path).map_err(|e| unusable(path, e))?;
        let layout = Layout {
            is_loose: |name| name == "quantize.ema_vocab_hit_SV",
            ..Layout::strict("a VAR tokenizer", config.keys())
        };
        return Ok((layout, file));
    }
    if has("scale_learnable_parameters") {
        file.forget(is_unused);
        let keys = InfinityStarVaeConfig::infinitystar().keys();
        return Ok((Layout::strict("an InfinityStar tokenizer", keys), file));
    }
    if has("encoder.conv_out.conv.weight") || has("encoder.conv_out.weight") {
        let file = file.renamed(newest_name);
        let keys = BsqVaeConfig::keys_like(&file.shapes());
        let keys = keys.ok_or_else(|| unusable(path, "its tokenizer has no levels"))?;
        let layout = Layout {
            is_loose: is_constant,
            ..Layout::strict("an Infinity tokenizer", keys)
        };
        return Ok((layout, file));
    }
    if has("encoder.final_layer_norm.weight") {
        return text_encoder(path, file);
    }
    let hint =
        "Infinity, InfinityStar and VAR transformers and tokenizers and T5 encoders are converted";
    Err(ModelError::Content {
        path: path.to_owned(),
        message: "holds the weights of no model that is known here".into(),
        hint: Some(hint.into()),
    })
}

fn transformer(
    path: &Path,
    architecture: Architecture,
    file: &mut WeightFile,
) -> Result<Layout, ModelError> {
    let no = |e: ShapeError| unusable(path, e);
    Ok(match architecture {
        Architecture::Infinity => {
            file.forget(is_stale);
            let keys = infinity_keys(&infinity_config(file).map_err(no)?);
            Layout::transformer("an Infinity transformer", keys)
        }
        Architecture::InfinityStar => {
            file.forget(is_unread);
            let keys = infinity_star_keys(&infinity_star_config(file).map_err(no)?);
            Layout::transformer("an InfinityStar transformer", keys)
        }
        Architecture::Var => Layout {
            is_loose: |name| name == VAR_MASK || name == "lvl_1L",
            ..Layout::transformer("a VAR transformer", var_keys_like(file).map_err(no)?)
        },
    })
}

/// The half of a T5 that is used here.
fn text_encoder(path: &Path, file: WeightFile) -> Result<(Layout, WeightFile), ModelError> {
    let folder = if path.is_dir() { path } else { folder_of(path) };
    let config = T5Config::from_hf_file(folder.join("config.json"));
    let config = config.map_err(|e| unusable(path, e))?;
    let layout = Layout::strict("a T5 encoder", t5::keys(&config));
    Ok((layout, t5::encoder_part(file)))
}

fn check(path: &Path, layout: &Layout, file: &WeightFile) -> Result<(), ModelError> {
    let Layout { keys, is_loose, .. } = layout;
    let missing = keys
        .keys()
        .filter(|name| file.shape(name).is_none() && !is_loose(name));
    let missing: Vec<String> = missing.cloned().collect();
    let unused = file
        .names()
        .filter(|name| !keys.contains_key(*name) && !is_loose(name));
    let unused: Vec<String> = unused.map(str::to_owned).collect();
    if !missing.is_empty() || !unused.is_empty() {
        let error = WeightError::Keys {
            path: path.to_owned(),
            missing,
            unused,
        };
        return Err(unusable(path, error));
    }
    let wrong = keys.iter().filter_map(|(name, wanted)| {
        let found = file.shape(name).filter(|found| found != wanted)?;
        Some(format!("`{name}` has shape {found:?}, not {wanted:?}"))
    });
    let reasons: Vec<String> = wrong.collect();
    if reasons.is_empty() {
        return Ok(());
    }
    let error = WeightError::Mismatch {
        path: path.to_owned(),
        reasons,
    };
    Err(unusable(path, error))
}
