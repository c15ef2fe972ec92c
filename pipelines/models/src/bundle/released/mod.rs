//! The released models, as they are published: by name, or by the path of a checkpoint.
//!
//! What a checkpoint is follows from its tensors, so any file in an official layout opens, whatever it is called.

pub mod infinity;
pub mod star;
pub mod var;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::hub::{self, Places};
use super::model::Model;
use super::{ClassManifest, damaged};
use crate::error::ModelError;
use nextscale_weights::WeightFile;

pub use var::config as var_config;

/// The names of all released models.
pub fn names() -> impl Iterator<Item = &'static str> {
    let infinity = infinity::PRESETS.iter().map(|preset| preset.name);
    let star = star::PRESETS.iter().map(|preset| preset.name);
    infinity
        .chain(var::VAR.iter().map(|(name, _)| *name))
        .chain(star)
}

/// One thing that a released model needs, and where it lies.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is for.
    pub role: &'static str,
    /// The repository that publishes it, `owner/name` on the Hugging Face hub.
    pub repo: &'static str,
    /// The file or folder there.
    pub file: &'static str,
    /// Where it is on this machine.
    pub found: Option<PathBuf>,
    /// Where a file lies that is easily taken for it.
    pub lookalike: Option<PathBuf>,
}

/// Tokenizers of the same shapes, which no check of shapes tells apart: the one that a released transformer was trained with,
/// and another one.
const LOOKALIKES: [(&str, &str); 1] = [("infinity_vae_d32reg", "infinity_vae_d32")];

/// A warning, if the tokenizer at `path` is the other one of two that look alike, under the name of the first: the same
/// content lies beside it under its own name. (No checksums of the released files are published, so that nothing else tells.)
pub(super) fn doubt(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let (_, other) = LOOKALIKES.iter().find(|(name, _)| *name == stem)?;
    let beside = hub::twin(&path.with_file_name(format!("{other}.pth")))?;
    hub::same_content(path, &beside).then(|| {
        format!(
            "{} and {} are the same file, but {stem} and {other} are two tokenizers: pictures come out wrong with {other}",
            path.display(),
            beside.display()
        )
    })
}

impl Part {
    fn new(role: &'static str, repo: &'static str, file: &'static str, places: &Places) -> Self {
        let found = hub::find(repo, file, places);
        let stem = file.trim_end_matches(".pth");
        let other = LOOKALIKES.iter().find(|(name, _)| *name == stem);
        let other = other.filter(|_| found.is_none());
        let lookalike =
            other.and_then(|(_, other)| hub::find(repo, &format!("{other}.pth"), places));
        Self {
            role,
            repo,
            file,
            found,
            lookalike,
        }
    }
}

/// What a released model of that name needs, if there is one.
pub fn parts(name: &str, places: &Places) -> Option<Vec<Part>> {
    if let Some(preset) = infinity::PRESETS.iter().find(|preset| preset.name == name) {
        return Some(preset.parts(places));
    }
    if let Some(preset) = star::PRESETS.iter().find(|preset| preset.name == name) {
        return Some(preset.parts(places));
    }
    let (_, file) = var::VAR.iter().find(|(known, _)| *known == name)?;
    Some(var::parts(file, places))
}

/// Opens a released model by name, if the name is one; its files are looked for where models lie.
pub(super) fn by_name(name: &str, places: &Places) -> Option<Result<Model, ModelError>> {
    let parts = parts(name, places)?;
    let missing: Vec<&Part> = parts.iter().filter(|part| part.found.is_none()).collect();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|part| part.file).collect();
        return Some(Err(ModelError::Model {
            model: name.to_owned(),
            message: format!("is not on this machine: {} not found", names.join(" and ")),
            hint: Some(format!(
                "`nextscale models fetch {name}` downloads what it lacks; or {}",
                hub::advice(&missing)
            )),
        }));
    }
    let found: Vec<PathBuf> = parts.into_iter().filter_map(|part| part.found).collect();
    Some(named(name, &found))
}

fn named(name: &str, found: &[PathBuf]) -> Result<Model, ModelError> {
    let file = WeightFile::open(&found[0]).map_err(|e| unreadable(name, e))?;
    let preset = infinity::PRESETS.iter().find(|preset| preset.name == name);
    let star = star::PRESETS.iter().find(|preset| preset.name == name);
    if let (Some(preset), [_, vae, text]) = (star, found) {
        return preset.open(name, &file, vae, text);
    }
    match (preset, found) {
        (Some(preset), [_, vae, text]) => preset.open(name, &file, vae, text),
        (None, [_, vae]) => {
            let class = var::open(name, &file, vae, var::config(name))?;
            Ok(Model::Class(Arc::new(class)))
        }
        _ => unreachable!("a model of other parts"),
    }
}

/// Opens a checkpoint of a transformer by its path, a folder of its shards, or the only checkpoint in a folder; what
/// else it needs lies beside it or where models lie. None if there is no such checkpoint.
pub(super) fn by_path(path: &Path, places: &Places) -> Option<Result<Model, ModelError>> {
    let file = match path.is_dir() {
        false => path.to_owned(),
        true => match checkpoints(path).as_slice() {
            [] if !has_shards(path) => return None,
            [] => path.to_owned(),
            [one] => one.clone(),
            several => {
                let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
                let message = format!("is a folder with several models: {}", names.join(", "));
                return Some(Err(ModelError::Model {
                    model: path.display().to_string(),
                    message,
                    hint: Some("name the file of one of them".into()),
                }));
            }
        },
    };
    let places = places.before(nextscale_files::atomic_file::folder_of(&file));
    Some(checkpoint(&path.display().to_string(), &file, &places))
}

fn checkpoint(name: &str, file: &Path, places: &Places) -> Result<Model, ModelError> {
    let weights = WeightFile::open(file).map_err(|e| unreadable(name, e))?;
    if weights.shape("text_norm.weight").is_some() {
        return infinity::by_file(name, &weights, places);
    }
    if weights.shape("semantic_head2.weight").is_some() {
        return star::by_file(name, &weights, places);
    }
    let part = var::tokenizer(places);
    match &part.found {
        Some(vae) => {
            let class = var::open(name, &weights, vae, None)?;
            Ok(Model::Class(Arc::new(class)))
        }
        None => Err(lacks(name, &part)),
    }
}

/// Files of a folder that are called as the released transformers are.
fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let var = var::VAR.iter().map(|(_, file)| *file);
    let infinity = infinity::PRESETS.iter().map(|preset| preset.transformer);
    let star = star::PRESETS.iter().map(|preset| preset.transformer);
    let all = var
        .chain(infinity)
        .chain(star)
        .map(|file| folder.join(file));
    let mut found: Vec<PathBuf> = all.filter_map(|path| hub::twin(&path)).collect();
    found.dedup();
    found
}

fn has_shards(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.ends_with(".index.json"))
}

fn unreadable(name: &str, error: impl ToString) -> ModelError {
    damaged(name, format!("cannot be read: {}", error.to_string()))
}

fn lacks(name: &str, part: &Part) -> ModelError {
    ModelError::Model {
        model: name.to_owned(),
        message: format!("lacks its {} {}", part.role, part.file),
        hint: Some(format!(
            "put it beside the transformer, or {}",
            hub::advice(&[part])
        )),
    }
}

/// The description of a class-conditional model with the released defaults.
pub fn class_manifest(
    transformer: nextscale_var_core::var::VarConfig,
    vae: nextscale_tokenizer::VqVaeConfig,
) -> ClassManifest {
    var::manifest(transformer, vae)
}
