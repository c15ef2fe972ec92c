//! The released models, as they are published: by name, or by the path of a checkpoint.
//!
//! What a checkpoint is follows from its tensors, so any file in an official layout opens, whatever it is called.

pub mod infinity;
pub mod infinity_star;
mod notices;
mod part;
mod random;
mod sizes;
pub mod var;
mod varedit;

use std::path::Path;

use nextscale_files::atomic_file::folder_of;
use nextscale_weights::WeightFile;

pub(crate) use notices::notices;
pub(crate) use part::download_hint;
#[cfg(test)]
pub(crate) use part::lookalike_warning;
pub use part::{Part, Role};
pub use random::{SHAPES, shape};

use crate::error::ModelError;
use crate::manifest::Architecture;
use crate::model::Model;
use crate::search::{Found, SearchPath, newest_variant};
use part::{require, unreadable};

/// A released model of any architecture.
#[derive(Debug, Clone, Copy)]
enum Preset {
    Infinity(&'static infinity::Preset),
    Var(&'static var::Preset),
    InfinityStar(&'static infinity_star::Preset),
}

impl Preset {
    fn all() -> impl Iterator<Item = Self> {
        let infinity = infinity::PRESETS.iter().map(Self::Infinity);
        let var = var::PRESETS.iter().map(Self::Var);
        let infinity_star = infinity_star::PRESETS.iter().map(Self::InfinityStar);
        infinity.chain(var).chain(infinity_star)
    }

    fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|preset| preset.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Infinity(preset) => preset.name,
            Self::Var(preset) => preset.name,
            Self::InfinityStar(preset) => preset.name,
        }
    }

    /// The file or folder of the transformer.
    fn transformer(self) -> &'static str {
        match self {
            Self::Infinity(preset) => preset.transformer,
            Self::Var(preset) => preset.transformer,
            Self::InfinityStar(preset) => preset.transformer,
        }
    }

    /// Transformer, tokenizer and, for models that take prompts, text encoder.
    fn parts(self, search_path: &SearchPath) -> Vec<Part> {
        match self {
            Self::Infinity(preset) => preset.parts(search_path),
            Self::Var(preset) => preset.parts(search_path),
            Self::InfinityStar(preset) => preset.parts(search_path),
        }
    }

    /// Opens the model under the name `name`, whose transformer is in `file`.
    fn open(self, name: &str, file: &WeightFile, parts: &[Part]) -> Result<Model, ModelError> {
        let part = |index: usize| require(name, &parts[index]);
        match self {
            Self::Infinity(preset) => preset.open(name, file, &part(1)?, &part(2)?),
            Self::Var(preset) => var::open(name, file, &part(1)?, Some((preset.config)())),
            Self::InfinityStar(preset) => preset.open(name, file, &part(1)?, &part(2)?),
        }
    }
}

/// The names of all released models.
pub fn names() -> impl Iterator<Item = &'static str> {
    Preset::all().map(Preset::name)
}

/// What a released model of that name needs, if there is one.
pub fn parts(name: &str, search_path: &SearchPath) -> Option<Vec<Part>> {
    Preset::by_name(name).map(|preset| preset.parts(search_path))
}

/// Opens a released model by name, if the name is one; its files are looked for where models lie.
pub(crate) fn by_name(name: &str, search_path: &SearchPath) -> Result<Option<Model>, ModelError> {
    let Some(preset) = Preset::by_name(name) else {
        return Ok(None);
    };
    let parts = preset.parts(search_path);
    let missing: Vec<&Part> = parts.iter().filter(|part| part.found.is_none()).collect();
    if !missing.is_empty() {
        let names = missing.iter().map(|part| part.missing(search_path));
        let names: Vec<String> = names.collect();
        let message = format!("is not on this machine: {} not found", names.join(" and "));
        let hint = format!(
            "`nextscale models fetch {name}` downloads what it lacks; or {}",
            download_hint(&missing)
        );
        return Err(ModelError::flawed_with(name, message, hint));
    }
    let transformer = require(name, &parts[0])?;
    let file = WeightFile::open_choosing(&transformer, search_path.weights());
    let file = file.map_err(|e| unreadable(name, e))?;
    let model = preset.open(name, &file, &parts)?;
    Ok(Some(model.with_notices(notices_of(&parts))))
}

/// Which files were taken of those that have a twin.
fn notices_of(parts: &[Part]) -> impl Iterator<Item = String> {
    parts.iter().filter_map(|part| part.notice.clone())
}

/// Opens a checkpoint of a transformer by its path, a folder of its shards, or the only checkpoint in a folder; what
/// else it needs lies next to it or where models lie. None if there is no such checkpoint.
pub(crate) fn by_path(path: &Path, search_path: &SearchPath) -> Result<Option<Model>, ModelError> {
    let name = path.display().to_string();
    let found = if path.is_dir() {
        checkpoints(path)
    } else {
        vec![path.to_owned().into()]
    };
    let whole = Found::from(path.to_owned());
    let file = match found.as_slice() {
        [] if !has_shards(path) => return Ok(None),
        [] => &whole,
        [one] => one,
        several => {
            let names = several.iter().map(|found| found.path.display().to_string());
            let names: Vec<String> = names.collect();
            let message = format!("is a folder with several models: {}", names.join(", "));
            let hint = "name the file of one of them";
            return Err(ModelError::flawed_with(&name, message, hint));
        }
    };
    let search_path = search_path.before(folder_of(&file.path));
    let model = checkpoint(&name, &file.path, &search_path)?;
    Ok(Some(model.with_notices(file.notice.clone())))
}

/// The architecture of a transformer, by the names of its tensors.
pub(crate) fn architecture_of(file: &WeightFile) -> Option<Architecture> {
    let has = |name: &str| file.shape(name).is_some();
    if has("text_norm.weight") {
        Some(Architecture::Infinity)
    } else if has("semantic_head2.weight") {
        Some(Architecture::InfinityStar)
    } else if has("pos_1LC") {
        Some(Architecture::Var)
    } else {
        None
    }
}

fn checkpoint(name: &str, file: &Path, search_path: &SearchPath) -> Result<Model, ModelError> {
    let weights = WeightFile::open_choosing(file, search_path.weights());
    let weights = weights.map_err(|e| unreadable(name, e))?;
    let preset = match architecture_of(&weights) {
        Some(Architecture::Infinity) => Preset::Infinity(infinity::of_file(name, &weights)?),
        Some(Architecture::InfinityStar) => {
            Preset::InfinityStar(infinity_star::of_file(name, &weights)?)
        }
        // Any shapes: a VAR checkpoint need not be a released one.
        Some(Architecture::Var) | None => {
            let vae = var::tokenizer(search_path);
            let model = var::open(name, &weights, &require(name, &vae)?, None)?;
            return Ok(model.with_notices(vae.notice));
        }
    };
    let parts = preset.parts(search_path);
    let model = preset.open(name, &weights, &parts)?;
    // The first part is the transformer, which is this file instead.
    Ok(model.with_notices(notices_of(&parts[1..])))
}

/// Files of a folder that are called as the released transformers are.
fn checkpoints(folder: &Path) -> Vec<Found> {
    let all = Preset::all().map(|preset| folder.join(preset.transformer()));
    let mut found: Vec<Found> = all.filter_map(|path| newest_variant(&path)).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    found
}

fn has_shards(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.ends_with(".index.json"))
}
