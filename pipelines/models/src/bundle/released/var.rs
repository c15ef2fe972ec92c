//! The released VAR checkpoints: `var_d16.pth` and its like beside `vae_ch160v4096z32.pth`.

use std::collections::BTreeMap;
use std::path::Path;

use nextscale_tokenizer::vqvae::VqVaeConfig;
use nextscale_var_core::var::VarConfig;
use nextscale_var_core::var::var_config;
use nextscale_weights::WeightFile;

use super::Part;
use crate::bundle::hub::Places;
use crate::bundle::{ClassBundle, ClassManifest, ModelKind, Sampling, damaged};
use crate::error::ModelError;

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
const IMAGENET: &str = include_str!("../../../names/imagenet.txt");

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
pub(super) fn manifest(transformer: VarConfig, vae: VqVaeConfig) -> ClassManifest {
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

/// The tokenizer of all of them, and where it lies.
pub(super) fn tokenizer(places: &Places) -> Part {
    Part::new("tokenizer", REPO, VAE_FILE, places)
}

/// What a model needs whose transformer is in `file`.
pub(super) fn parts(file: &'static str, places: &Places) -> Vec<Part> {
    let transformer = Part::new("transformer", REPO, file, places);
    vec![transformer, tokenizer(places)]
}

/// Opens a model of these files, which should have the shapes of `expected`.
pub(super) fn open(
    name: &str,
    file: &WeightFile,
    vae: &Path,
    expected: Option<VarConfig>,
) -> Result<ClassBundle, ModelError> {
    let unreadable = |e: String| super::unreadable(name, e);
    let transformer = file.path();
    let found =
        var_config(file).map_err(|e| unreadable(format!("{}: {e}", transformer.display())))?;
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
    let config = VqVaeConfig::of_file(vae).map_err(|e| unreadable(e.to_string()))?;
    ClassBundle::new(
        name,
        manifest(found, config),
        transformer.to_owned(),
        vae.to_owned(),
    )
}
