//! Models of published sizes with random weights, so that speed can be compared without a checkpoint.

use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_text::T5Config;
use nextscale_tokenizer::schedule::infinity::PixelBudget;
use nextscale_tokenizer::vqvae::VqVaeConfig;

use super::sizes::sizes;
use super::{infinity, infinity_star, var};
use crate::manifest::{InfinityManifest, Manifest};
use crate::prompt::PromptRules;
use crate::sampling::Sampling;

/// The names that [`shape`] knows.
pub const SHAPES: &str = "infinity-125m, infinity-2b, infinity-8b, varedit-8b-512, varedit-8b-1024, var-d16, -d20, -d24, -d30, -d36, infinitystar-8b-480p, or infinitystar-8b-720p";

/// The description of a model of a published size, without files, with sampling as in the official demos; of Infinity, small
/// sizes first. None if there is no such size.
pub fn shape(name: &str) -> Option<Manifest> {
    if let Some(config) = var::config(name) {
        let manifest = var::manifest(config, VqVaeConfig::released());
        return Some(Manifest::Var(manifest));
    }
    if let Some(manifest) = infinity_star::manifest(name) {
        return Some(Manifest::InfinityStar(manifest));
    }
    if let Some(manifest) = infinity::editing_manifest(name) {
        return Some(Manifest::Infinity(manifest));
    }
    let (transformer, vae, patching) = match name {
        "infinity-125m" => single(InfinityConfig::infinity_125m()),
        "infinity-2b" => single(InfinityConfig::infinity_2b()),
        "infinity-8b" => (
            InfinityConfig::infinity_8b(),
            BsqVaeConfig::stride_8_patchify(),
            Patching::Double,
        ),
        _ => return None,
    };
    Some(Manifest::Infinity(InfinityManifest {
        name: name.to_owned(),
        about: String::new(),
        text: T5Config::flan_t5_xl(),
        vae,
        transformer,
        patching,
        sizes: sizes(PixelBudget::M006),
        sampling: Sampling {
            cfg: 4.0,
            temperature: 1.0,
            top_k: 900,
            top_p: 0.97,
        },
        edits_by_instruction: false,
        prompt: PromptRules::default(),
        fingerprints: Default::default(),
    }))
}

/// A transformer whose tokens are cells of a tokenizer with as many bits.
fn single(transformer: InfinityConfig) -> (InfinityConfig, BsqVaeConfig, Patching) {
    let vae = BsqVaeConfig::stride_16(transformer.code_dim);
    (transformer, vae, Patching::Single)
}
