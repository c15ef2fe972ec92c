//! The released Infinity models: transformer, tokenizer and flan-T5 XL, bound together.

use std::path::Path;

use nextscale_bitwise::import::infinity_config;
use nextscale_bitwise::infinity::InfinityConfig;
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_text::T5Config;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use nextscale_weights::WeightFile;

use super::part::{Part, Role, TextFolder, shapes, unreadable};
use super::sizes::sizes;
use super::varedit;
use crate::error::ModelError;
use crate::files::Files;
use crate::manifest::{Checksums, InfinityManifest, Manifest};
use crate::model::Model;
use crate::prompt::PromptRules;
use crate::sampling::Sampling;
use crate::search::SearchPath;

/// Where transformers and tokenizers are published (the README of github.com/FoundationVision/Infinity).
const REPO: &str = "FoundationVision/Infinity";
/// Where VAREdit is published, which edits by instruction (the README of github.com/HiDream-ai/VAREdit).
const VAREDIT: &str = "HiDream-ai/VAREdit";

/// A released model: its files and the settings that its authors run it with.
#[derive(Debug)]
pub struct Preset {
    /// Its name here.
    pub name: &'static str,
    /// The repository of its transformer.
    repo: &'static str,
    /// File or folder of the transformer.
    pub transformer: &'static str,
    /// File of the tokenizer.
    pub vae: &'static str,
    /// Bits a token: which tokenizer a transformer belongs to.
    code_dim: usize,
    /// The pixel budget that it was trained for last.
    budget: PixelBudget,
    cfg: f64,
    temperature: f64,
}

/// All of them. Settings: `scripts/infer.sh` for 2B, the official notebooks for 8B, the README of VAREdit (spec: top-k 900,
/// top-p 0.97).
pub const PRESETS: [Preset; 5] = [
    Preset {
        name: "infinity-2b",
        repo: REPO,
        transformer: "infinity_2b_reg.pth",
        vae: "infinity_vae_d32reg.pth",
        code_dim: 32,
        budget: PixelBudget::M1,
        cfg: 4.0,
        temperature: 0.5,
    },
    Preset {
        name: "infinity-8b",
        repo: REPO,
        transformer: "infinity_8b_weights",
        vae: "infinity_vae_d56_f8_14_patchify.pth",
        code_dim: 56,
        budget: PixelBudget::M1,
        cfg: 3.0,
        temperature: 1.0,
    },
    Preset {
        name: "infinity-8b-512",
        repo: REPO,
        transformer: "infinity_8b_512x512_weights",
        vae: "infinity_vae_d56_f8_14_patchify.pth",
        code_dim: 56,
        budget: PixelBudget::M025,
        cfg: 3.0,
        temperature: 1.0,
    },
    Preset {
        name: "varedit-8b-512",
        transformer: "8B-512.pth",
        budget: PixelBudget::M025,
        ..VAREDIT_8B
    },
    Preset {
        name: "varedit-8b-1024",
        transformer: "8B-1024.pth",
        budget: PixelBudget::M1,
        ..VAREDIT_8B
    },
];

/// What both sizes of VAREdit share.
const VAREDIT_8B: Preset = Preset {
    name: "",
    repo: VAREDIT,
    transformer: "",
    vae: "infinity_vae_d56_f8_14_patchify.pth",
    code_dim: 56,
    budget: PixelBudget::M1,
    cfg: 3.0,
    temperature: 0.1,
};

impl Preset {
    /// Whether it edits images by instruction.
    pub fn edits(&self) -> bool {
        self.repo == VAREDIT
    }

    /// Width and height of its images unless asked otherwise.
    pub fn side(&self) -> usize {
        RatioTemplate::nearest(1.0).pixels(self.budget).1
    }

    /// Transformer, tokenizer and text encoder, in this order.
    pub(super) fn parts(&self, search_path: &SearchPath) -> Vec<Part> {
        vec![
            Part::new(Role::Transformer, self.repo, self.transformer, search_path),
            Part::new(Role::Tokenizer, REPO, self.vae, search_path),
            Part::text_encoder(search_path),
        ]
    }

    /// Opens the model from its files; `text` is a folder in Hugging Face's layout.
    pub(super) fn open(
        &self,
        name: &str,
        file: &WeightFile,
        vae: &Path,
        text: &Path,
    ) -> Result<Model, ModelError> {
        let config = shapes(name, file, infinity_config)?;
        self.check(name, file, &config)?;
        let text = TextFolder::open(name, text)?;
        let vae_config = BsqVaeConfig::of_file(vae).map_err(|e| unreadable(name, e))?;
        let manifest = Manifest::Infinity(self.manifest(config, vae_config, text.config));
        let files = Files::released(Some(text.files), file, vae);
        Model::released(name, manifest, files)
    }

    /// Refuses another model under the name of this one: opened by a path, a checkpoint may have any shapes.
    fn check(
        &self,
        name: &str,
        file: &WeightFile,
        found: &InfinityConfig,
    ) -> Result<(), ModelError> {
        let expected = match self.code_dim {
            32 => InfinityConfig::infinity_2b(),
            _ => InfinityConfig::infinity_8b(),
        };
        // How the names are chunked and how many rows the unconditional prompt has changes nothing.
        let same = InfinityConfig {
            block_chunks: expected.block_chunks,
            text_max_len: expected.text_max_len,
            ..found.clone()
        };
        if name != self.name || same == expected {
            return Ok(());
        }
        let message = format!(
            "is not what {} holds: width {}, {} blocks, {} bits a token instead of width {}, {} blocks, {} bits",
            file.path().display(),
            found.width,
            found.depth,
            found.code_dim,
            expected.width,
            expected.depth,
            expected.code_dim
        );
        Err(ModelError::flawed(name, message))
    }

    fn manifest(
        &self,
        transformer: InfinityConfig,
        vae: BsqVaeConfig,
        text: T5Config,
    ) -> InfinityManifest {
        let patching = match vae.stride() {
            8 => Patching::Double,
            _ => Patching::Single,
        };
        InfinityManifest {
            name: self.name.to_owned(),
            about: if self.edits() {
                "Image editing by instruction; VAREdit, arXiv 2508.15772.".into()
            } else {
                "Text to image; Infinity, arXiv 2412.04431.".into()
            },
            text,
            // A prompt may be as long as the released code allows; a shorter unconditional prompt is completed.
            transformer: InfinityConfig {
                text_max_len: transformer.text_max_len.max(512),
                ..transformer
            },
            vae,
            patching,
            sizes: if self.edits() {
                sizes(self.budget).into_iter().take(1).collect()
            } else {
                sizes(self.budget)
            },
            sampling: Sampling {
                cfg: self.cfg,
                temperature: self.temperature,
                top_k: 900,
                top_p: 0.97,
            },
            edits_by_instruction: self.edits(),
            prompt: PromptRules::default(),
            fingerprints: Checksums::new(),
        }
    }
}

/// The description of a released model that edits by instruction.
pub fn editing_manifest(name: &str) -> Option<InfinityManifest> {
    let mut presets = PRESETS.iter().filter(|preset| preset.edits());
    let preset = presets.find(|preset| preset.name == name)?;
    let (transformer, vae) = (
        InfinityConfig::infinity_8b(),
        BsqVaeConfig::stride_8_patchify(),
    );
    Some(preset.manifest(transformer, vae, T5Config::flan_t5_xl()))
}

/// The released model that a checkpoint belongs to: by its bits a token and, where two have the same, its name.
pub(super) fn of_file(name: &str, file: &WeightFile) -> Result<&'static Preset, ModelError> {
    let code_dim = shapes(name, file, infinity_config)?.code_dim;
    let varedit = varedit::budget_of(file.path());
    let mut presets = PRESETS.iter();
    presets
        .find(|preset| {
            let is_named = match varedit {
                Some(budget) => preset.edits() && preset.budget == budget,
                None => !preset.edits(),
            };
            is_named && preset.code_dim == code_dim
        })
        .ok_or_else(|| {
            let message =
                format!("has {code_dim} bits a token, which no released tokenizer has (32 or 56)");
            ModelError::flawed(name, message)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varedit_edits_at_one_size() {
        for (name, side) in [("varedit-8b-512", 512), ("varedit-8b-1024", 1024)] {
            let manifest = editing_manifest(name).unwrap();
            let sizes: Vec<_> = manifest.sizes.iter().map(|s| (s.width, s.height)).collect();
            assert_eq!(sizes, [(side, side)]);
            assert!(manifest.edits_by_instruction);
            assert_eq!(Manifest::Infinity(manifest).check(), Ok(()));
        }
    }

    #[test]
    fn descriptions_fit_together() {
        let (two, eight) = (InfinityConfig::infinity_2b(), InfinityConfig::infinity_8b());
        for (preset, transformer, vae) in [
            (&PRESETS[0], two, BsqVaeConfig::stride_16(32)),
            (&PRESETS[1], eight, BsqVaeConfig::stride_8_patchify()),
        ] {
            let check = |vae| {
                let manifest = preset.manifest(transformer.clone(), vae, T5Config::flan_t5_xl());
                Manifest::Infinity(manifest).check()
            };
            assert_eq!(check(vae), Ok(()));
            let other = check(BsqVaeConfig::stride_16(16));
            let message = other.unwrap_err().to_string();
            assert!(
                message.contains("its auto-encoder gives 16 bits"),
                "{message}"
            );
        }
    }
}
