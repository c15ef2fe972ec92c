//! Models of published sizes with random weights, so that speed can be compared without a checkpoint.

use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_models::manifest::InfinityManifest;
use nextscale_models::prompt::PromptRules;
use nextscale_models::sampling::Sampling;
use nextscale_models::{Manifest, Size, released};
use nextscale_text::T5Config;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use nextscale_tokenizer::vqvae::VqVaeConfig;

use crate::error::EvalError;

/// The sizes that there are.
const KNOWN: &str = "infinity-125m, infinity-2b, or var-d16, -d20, -d24, -d30, -d36";

/// The description of a size, with sampling as in the official demos.
pub(super) fn manifest(name: &str) -> Result<Manifest, EvalError> {
    if let Some(config) = released::var::config(name) {
        let manifest = released::var::manifest(config, VqVaeConfig::released());
        return Ok(Manifest::Var(manifest));
    }
    match name {
        "infinity-125m" => Ok(infinity(name, InfinityConfig::infinity_125m())),
        "infinity-2b" => Ok(infinity(name, InfinityConfig::infinity_2b())),
        _ => Err(EvalError::UnknownSize {
            name: name.to_owned(),
            known: KNOWN,
        }),
    }
}

/// Infinity with its 32-bit tokenizer, at 256x256 pixels.
fn infinity(name: &str, transformer: InfinityConfig) -> Manifest {
    let template = RatioTemplate::nearest(1.0);
    let largest = template.schedule(PixelBudget::M1).last();
    let size = Size {
        reference: Some([largest.h, largest.w]),
        ..Size::new(256, 256, &template.schedule(PixelBudget::M006))
    };
    Manifest::Infinity(InfinityManifest {
        name: name.to_owned(),
        about: String::new(),
        text: T5Config::flan_t5_xl(),
        vae: BsqVaeConfig::stride_16(transformer.code_dim),
        transformer,
        patching: Patching::Single,
        sizes: vec![size],
        sampling: Sampling {
            cfg: 4.0,
            temperature: 1.0,
            top_k: 900,
            top_p: 0.97,
        },
        prompt: PromptRules::default(),
        fingerprints: Default::default(),
    })
}
