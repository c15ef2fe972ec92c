//! The released VAR checkpoints, as they are: `var_d16.pth` and its like beside `vae_ch160v4096z32.pth`.
//!
//! What a checkpoint is follows from its tensors, so any file in the official layout opens, whatever it is called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nextscale_tokenizer::vqvae::VqVaeConfig;
use nextscale_var_core::import::{WeightFile, var_config};
use nextscale_var_core::transformer::VarConfig;

use super::classes::{ClassBundle, ClassManifest};
use super::hub::{self, HubFile};
use super::{ModelKind, Sampling, damaged};
use crate::error::PipelineError;

/// Where the released files are published (the README of github.com/FoundationVision/VAR).
const REPO: &str = "FoundationVision/var";
/// The tokenizer of all of them.
const VAE_FILE: &str = "vae_ch160v4096z32.pth";

/// The names of the released models, and their files.
pub const VAR: [(&str, &str); 5] = [
    ("var-d16", "var_d16.pth"),
    ("var-d20", "var_d20.pth"),
    ("var-d24", "var_d24.pth"),
    ("var-d30", "var_d30.pth"),
    ("var-d36", "var_d36.pth"),
];

/// The names of the 1,000 classes of ImageNet in the order of its challenge of 2012: the lemmas of their WordNet 3.0
/// synsets.
const IMAGENET: &str = include_str!("../../names/imagenet.txt");

/// The shapes of a released model by name.
pub fn config(name: &str) -> Option<VarConfig> {
    match name {
        "var-d16" => Some(VarConfig::released_256(16)),
        "var-d20" => Some(VarConfig::released_256(20)),
        "var-d24" => Some(VarConfig::released_256(24)),
        "var-d30" => Some(VarConfig::released_256(30)),
        "var-d36" => Some(VarConfig::released_512()),
        _ => None,
    }
}

/// The description of a model in the official layout: sampling as in the official demo.
pub(crate) fn manifest(transformer: VarConfig, vae: VqVaeConfig) -> ClassManifest {
    let imagenet = transformer.classes == 1000;
    let classes = IMAGENET.lines().filter(|_| imagenet).map(str::to_owned);
    ClassManifest {
        kind: ModelKind::Var,
        name: format!("var-d{}", transformer.depth),
        about: "Class-conditional pictures; VAR, arXiv 2404.02905.".into(),
        classes: classes.collect(),
        transformer,
        vae,
        sampling: Sampling {
            cfg: 4.0,
            tau: 1.0,
            top_k: 900,
            top_p: 0.95,
        },
        fingerprints: BTreeMap::new(),
    }
}

/// Opens a released model by name, if the name is one; its files are looked for where models lie.
pub(super) fn by_name(name: &str) -> Option<Result<ClassBundle, PipelineError>> {
    let (_, file) = VAR.iter().find(|(known, _)| *known == name)?;
    Some(open_name(name, file))
}

fn open_name(name: &str, file: &'static str) -> Result<ClassBundle, PipelineError> {
    let find = |file: &'static str| hub::find(&HubFile { repo: REPO, file }, &[]);
    match (find(file), find(VAE_FILE)) {
        (Some(transformer), Some(vae)) => open(name, transformer, vae, config(name)),
        (transformer, vae) => {
            let missing: Vec<&str> = [(transformer, file), (vae, VAE_FILE)]
                .into_iter()
                .filter_map(|(found, file)| found.is_none().then_some(file))
                .collect();
            Err(PipelineError::Model {
                model: name.to_owned(),
                message: format!(
                    "is not on this machine: {} not found",
                    missing.join(" and ")
                ),
                hint: Some(hub::advice(REPO, &missing)),
            })
        }
    }
}

/// Opens a checkpoint of a VAR transformer by its path, or the only one in a folder; its tokenizer lies beside it or
/// where models lie. None if there is no such checkpoint.
pub(super) fn by_path(path: &Path) -> Option<Result<ClassBundle, PipelineError>> {
    let file = match path.is_dir() {
        false => path.to_owned(),
        true => match checkpoints(path).as_slice() {
            [] => return None,
            [one] => one.clone(),
            several => {
                let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
                let message = format!("is a folder with several models: {}", names.join(", "));
                return Some(Err(PipelineError::Model {
                    model: path.display().to_string(),
                    message,
                    hint: Some("name the file of one of them".into()),
                }));
            }
        },
    };
    let name = path.display().to_string();
    let beside = [super::super::picture::folder_of(&file).to_owned()];
    let vae = HubFile {
        repo: REPO,
        file: VAE_FILE,
    };
    Some(match hub::find(&vae, &beside) {
        Some(vae) => open(&name, file, vae, None),
        None => Err(PipelineError::Model {
            model: name,
            message: format!("lacks its tokenizer {VAE_FILE}"),
            hint: Some(format!(
                "put it beside {}, or {}",
                file.display(),
                hub::advice(REPO, &[VAE_FILE])
            )),
        }),
    })
}

/// Files of a folder that are called as the released transformers are.
fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let files = VAR
        .iter()
        .filter_map(|(_, file)| hub::twin(&folder.join(file)));
    files.collect()
}

fn open(
    name: &str,
    transformer: PathBuf,
    vae: PathBuf,
    expected: Option<VarConfig>,
) -> Result<ClassBundle, PipelineError> {
    let unreadable = |e: String| damaged(name, format!("cannot be read: {e}"));
    let file = WeightFile::open(&transformer).map_err(|e| unreadable(e.to_string()))?;
    let found =
        var_config(&file).map_err(|e| unreadable(format!("{}: {e}", transformer.display())))?;
    if let Some(expected) = expected
        && expected != found
    {
        let message = format!(
            "is not what {} holds: depth {}, width {}, {} tokens instead of depth {}, width {}, {} tokens",
            transformer.display(),
            found.depth,
            found.width,
            found.schedule.tokens(),
            expected.depth,
            expected.width,
            expected.schedule.tokens()
        );
        return Err(damaged(name, message));
    }
    let config = VqVaeConfig::of_file(&vae).map_err(|e| unreadable(e.to_string()))?;
    ClassBundle::new(name, manifest(found, config), transformer, vae)
}
