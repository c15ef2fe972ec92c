//! The released InfinityStar models: transformer, tokenizer and flan-T5 XL, bound together.

use std::path::Path;

use nextscale_text::T5Config;
use nextscale_video::infinity_star::infinity_star_config;
use nextscale_video::templates::{FrameSize, Template};
use nextscale_video::{InfinityStarConfig, InfinityStarPreset, InfinityStarVaeConfig};
use nextscale_weights::WeightFile;

use super::part::{Part, Role, TextFolder, shapes};
use crate::error::ModelError;
use crate::files::Files;
use crate::manifest::{Checksums, FrameCounts, InfinityStarManifest, Manifest};
use crate::model::Model;
use crate::prompt::PromptRules;
use crate::search::SearchPath;
use crate::size::Size;

/// Where everything is published (the README of github.com/FoundationVision/InfinityStar).
const REPO: &str = "FoundationVision/InfinityStar";
/// The tokenizer of all of them.
const VAE: &str = "infinitystar_videovae.pth";
/// The text encoder of all of them.
const TEXT: &str = "text_encoder/flan-t5-xl-official";

/// A released video model: its folder and the settings that its authors run it with.
#[derive(Debug)]
pub struct Preset {
    /// Its name here.
    pub name: &'static str,
    /// The folder of its transformer.
    pub transformer: &'static str,
    /// What distinguishes its folder from those of the others, whose tensors have the same shapes.
    sign: &'static str,
    settings: fn() -> InfinityStarPreset,
    /// Put after every prompt by the released scripts.
    suffix: &'static str,
    /// The scale on which an interactive model sees the clip before.
    semantic_scale: Option<usize>,
}

/// All of them (`tools/infer_video_720p.py`, `infer_video_480p.py` and `infer_interact_480p.py`).
pub const PRESETS: [Preset; 3] = [
    Preset {
        name: "infinitystar-8b-720p",
        transformer: "infinitystar_8b_720p_weights",
        sign: "720p",
        settings: InfinityStarPreset::infinitystar_8b_720p,
        suffix: CLOSE_UP,
        semantic_scale: None,
    },
    Preset {
        name: "infinitystar-8b-480p",
        transformer: "infinitystar_8b_480p_weights",
        sign: "480p",
        settings: InfinityStarPreset::infinitystar_8b_480p,
        suffix: CLOSE_UP,
        semantic_scale: None,
    },
    Preset {
        name: "infinitystar-interact",
        transformer: "InfinityStarInteract_24K_iters",
        sign: "interact",
        settings: InfinityStarPreset::infinitystar_interact,
        suffix: "",
        semantic_scale: Some(nextscale_video::interactive_session::SEMANTIC_SCALE),
    },
];

/// The description of a released model without its files.
pub fn manifest(name: &str) -> Option<InfinityStarManifest> {
    let preset = PRESETS.iter().find(|preset| preset.name == name)?;
    Some(preset.manifest(
        InfinityStarConfig::infinitystar_8b(),
        InfinityStarVaeConfig::infinitystar(),
        T5Config::flan_t5_xl(),
    ))
}

const CLOSE_UP: &str = ", Close-up on big objects, emphasize scale and detail";

impl Preset {
    /// Transformer, tokenizer and text encoder, in this order.
    pub(super) fn parts(&self, search_path: &SearchPath) -> Vec<Part> {
        let own = Part::new(Role::TextEncoder, REPO, TEXT, search_path);
        let text = match own.found {
            Some(_) => own,
            None => Part::text_encoder(search_path),
        };
        vec![
            Part::new(Role::Transformer, REPO, self.transformer, search_path),
            Part::new(Role::Tokenizer, REPO, VAE, search_path),
            text,
        ]
    }

    /// Width and height of its frames unless told otherwise.
    pub fn size(&self) -> (usize, usize) {
        let first = sizes((self.settings)().size);
        (first[0].width, first[0].height)
    }

    /// Whether it goes on from a given video, prompt after prompt.
    pub fn is_interactive(&self) -> bool {
        self.semantic_scale.is_some()
    }

    /// The longest video that it was made for, in seconds.
    pub fn longest_seconds(&self) -> usize {
        (self.settings)().longest_seconds
    }

    /// Opens the model from its files; `text` is a folder in Hugging Face's layout.
    pub(super) fn open(
        &self,
        name: &str,
        file: &WeightFile,
        vae: &Path,
        text: &Path,
    ) -> Result<Model, ModelError> {
        let config = shapes(name, file, infinity_star_config)?;
        let text = TextFolder::open(name, text)?;
        let manifest = self.manifest(config, (self.settings)().vae, text.config);
        let files = Files::released(Some(text.files), file, vae);
        Model::released(name, Manifest::InfinityStar(manifest), files)
    }

    /// The description of a model of these shapes.
    pub(crate) fn manifest(
        &self,
        transformer: InfinityStarConfig,
        vae: InfinityStarVaeConfig,
        text: T5Config,
    ) -> InfinityStarManifest {
        let settings = (self.settings)();
        let longest = 1 + settings.longest_seconds * settings.fps;
        let clip = settings.layout.clip_frames * vae.frame_stride();
        InfinityStarManifest {
            name: self.name.to_owned(),
            about: "Text to video; InfinityStar, arXiv 2511.04675.".into(),
            text,
            transformer,
            vae,
            layout: settings.layout,
            sizes: sizes(settings.size),
            fps: settings.fps,
            frames: FrameCounts {
                default: 1 + clip,
                longest,
                // Whole seconds, because the prompt tells them; an interactive model makes whole clips.
                step: self.semantic_scale.map_or(settings.fps, |_| clip),
            },
            guidance: settings.guidance,
            image_temperature: settings.image_temperature,
            clip_temperature: settings.clip_temperature,
            prompt: PromptRules {
                suffix: self.suffix.to_owned(),
                ..PromptRules::default()
            },
            duration_tag: true,
            soft_start: true,
            semantic_scale: self.semantic_scale,
            first_frame: None,
            fingerprints: Checksums::new(),
        }
    }
}

/// Every aspect ratio of a size, 16:9 before all others.
fn sizes(size: FrameSize) -> Vec<Size> {
    let wide = Template::nearest(9.0 / 16.0);
    let others = Template::all()
        .into_iter()
        .filter(|t| t.ratio != wide.ratio);
    let stride = InfinityStarVaeConfig::infinitystar().stride();
    let of = |template: &Template| {
        let [h, w] = template.finest(size);
        Size {
            width: w * stride,
            height: h * stride,
            scales: template.grids(size).to_vec(),
            reference: None,
            known: None,
        }
    };
    let mut all = vec![of(&wide)];
    all.extend(others.map(|template| of(&template)));
    all
}

/// The released model that a checkpoint belongs to, by the name of its folder or file: the released transformers have
/// the same shapes.
pub(super) fn of_file(name: &str, file: &WeightFile) -> Result<&'static Preset, ModelError> {
    let path = file.path().to_string_lossy().to_lowercase();
    let mut presets = PRESETS.iter().rev();
    presets
        .find(|preset| path.contains(preset.sign))
        .ok_or_else(|| {
            let signs: Vec<&str> = PRESETS.iter().map(|preset| preset.sign).collect();
            let message = "is an InfinityStar transformer, but its name does not say which one";
            let hint = format!(
                "they have the same shapes and other schedules: put one of {} into the name of the file or its folder",
                signs.join(", ")
            );
            ModelError::flawed_with(name, message, hint)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ratio_of_both_releases() {
        let expected = [(1280, 720, 5), (848, 480, 10), (848, 480, 5)];
        for (preset, (width, height, longest)) in PRESETS.iter().zip(expected) {
            assert_eq!(preset.size(), (width, height));
            assert_eq!(preset.longest_seconds(), longest);
            let all = sizes((preset.settings)().size);
            assert_eq!(all.len(), 15);
            let mut seen: Vec<_> = all.iter().map(|s| (s.width, s.height)).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 15, "no size twice");
        }
    }
}
