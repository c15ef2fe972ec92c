//! The released VAR checkpoints: `var_d16.pth` and its like, with `vae_ch160v4096z32.pth`.

use std::path::Path;

use nextscale_tokenizer::vqvae::VqVaeConfig;
use nextscale_var_core::var::VarConfig;
use nextscale_var_core::var::var_config;
use nextscale_weights::WeightFile;

use super::part::{Part, Role, shapes, unreadable};
use crate::error::ModelError;
use crate::files::Files;
use crate::manifest::{Checksums, Manifest, VarManifest};
use crate::model::Model;
use crate::sampling::Sampling;
use crate::search::SearchPath;

/// Where the released files are published (the README of github.com/FoundationVision/VAR).
const REPO: &str = "FoundationVision/var";
/// The tokenizer of all of them.
const VAE_FILE: &str = "vae_ch160v4096z32.pth";

/// A released model: its file and its shapes.
#[derive(Debug)]
pub struct Preset {
    /// Its name here.
    pub name: &'static str,
    /// The file of its transformer.
    pub transformer: &'static str,
    /// Its shapes.
    pub(super) config: fn() -> VarConfig,
}

/// All of them.
pub const PRESETS: [Preset; 5] = [
    Preset::new("var-d16", "var_d16.pth", || VarConfig::released_256(16)),
    Preset::new("var-d20", "var_d20.pth", || VarConfig::released_256(20)),
    Preset::new("var-d24", "var_d24.pth", || VarConfig::released_256(24)),
    Preset::new("var-d30", "var_d30.pth", || VarConfig::released_256(30)),
    Preset::new("var-d36", "var_d36.pth", VarConfig::released_512),
];

impl Preset {
    const fn new(name: &'static str, transformer: &'static str, config: fn() -> VarConfig) -> Self {
        Self {
            name,
            transformer,
            config,
        }
    }

    /// Transformer and tokenizer.
    pub(super) fn parts(&self, search_path: &SearchPath) -> Vec<Part> {
        let transformer = Part::new(Role::Transformer, REPO, self.transformer, search_path);
        vec![transformer, tokenizer(search_path)]
    }
}

/// The names of the 1,000 classes of ImageNet in the order of its challenge of 2012: the lemmas of their WordNet 3.0
/// synsets.
const IMAGENET: &str = include_str!("../../names/imagenet.txt");

/// The shapes of a released model by name.
pub fn config(name: &str) -> Option<VarConfig> {
    let preset = PRESETS.iter().find(|preset| preset.name == name)?;
    Some((preset.config)())
}

/// The description of a model in the official layout: sampling as in the official demo.
pub fn manifest(transformer: VarConfig, vae: VqVaeConfig) -> VarManifest {
    let imagenet = transformer.classes == 1000;
    let classes = IMAGENET.lines().filter(|_| imagenet).map(str::to_owned);
    VarManifest {
        name: format!("var-d{}", transformer.depth),
        about: "Class-conditional images; VAR, arXiv 2404.02905.".into(),
        classes: classes.collect(),
        transformer,
        vae,
        sampling: Sampling {
            cfg: 4.0,
            temperature: 1.0,
            top_k: 900,
            top_p: 0.95,
        },
        fingerprints: Checksums::new(),
    }
}

/// The tokenizer of all of them, and where it lies.
pub(super) fn tokenizer(search_path: &SearchPath) -> Part {
    Part::new(Role::Tokenizer, REPO, VAE_FILE, search_path)
}

/// Opens a model of these files, which should have the shapes of `expected`.
pub(super) fn open(
    name: &str,
    file: &WeightFile,
    vae: &Path,
    expected: Option<VarConfig>,
) -> Result<Model, ModelError> {
    let (found, transformer) = (shapes(name, file, var_config)?, file.path());
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
        return Err(ModelError::flawed(name, message));
    }
    let config = VqVaeConfig::of_file(vae).map_err(|e| unreadable(name, e))?;
    let manifest = Manifest::Var(manifest(found, config));
    let files = Files::released(None, file, vae);
    Model::released(name, manifest, files)
}
