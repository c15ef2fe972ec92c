//! The released InfinityStar models: transformer, tokenizer and flan-T5 XL, bound together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nextscale_text::T5Config;
use nextscale_text::import::WEIGHT_FILES;
use nextscale_video::infinity_star::infinity_star_config;
use nextscale_video::templates::{FrameSize, Template};
use nextscale_video::{InfinityStarConfig, InfinityStarPreset, InfinityStarVaeConfig};
use nextscale_weights::WeightFile;

use super::{Part, lacks, unreadable};
use crate::bundle::hub::Places;
use crate::bundle::model::Model;
use crate::bundle::{FrameCounts, ModelKind, PromptRules, Size, StarBundle, StarManifest, damaged};
use crate::error::ModelError;

/// Where everything is published (the README of github.com/FoundationVision/InfinityStar).
const REPO: &str = "FoundationVision/InfinityStar";
/// The tokenizer of all of them.
const VAE: &str = "infinitystar_videovae.pth";
/// The text encoder of all of them, in their own repository and where it comes from.
const TEXT: &str = "text_encoder/flan-t5-xl-official";
const TEXT_REPO: &str = "google/flan-t5-xl";

/// A released video model: its folder and the settings that its authors run it with.
#[derive(Debug)]
pub struct Preset {
    /// Its name here.
    pub name: &'static str,
    /// The folder of its transformer.
    pub transformer: &'static str,
    /// What tells its folder from those of the others, whose tensors have the same shapes.
    sign: &'static str,
    settings: fn() -> InfinityStarPreset,
    /// Put behind every prompt by the released scripts.
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

const CLOSE_UP: &str = ", Close-up on big objects, emphasize scale and detail";

impl Preset {
    /// Transformer, tokenizer and text encoder, in this order.
    pub(super) fn parts(&self, places: &Places) -> Vec<Part> {
        let own = Part::new("text encoder", REPO, TEXT, places);
        let text = match own.found {
            Some(_) => own,
            None => Part::new("text encoder", TEXT_REPO, ".", places),
        };
        vec![
            Part::new("transformer", REPO, self.transformer, places),
            Part::new("tokenizer", REPO, VAE, places),
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
        let config = infinity_star_config(file);
        let config =
            config.map_err(|e| unreadable(name, format!("{}: {e}", file.path().display())))?;
        let text_config = T5Config::from_hf_file(text.join("config.json"));
        let text_config = text_config.map_err(|e| unreadable(name, e))?;
        let weights = WEIGHT_FILES.map(|file| text.join(file));
        let Some(weights) = weights.iter().find(|path| path.is_file()) else {
            let folder = text.display();
            return Err(damaged(
                name,
                format!("lacks the weights of its text encoder in {folder}"),
            ));
        };
        let vocab = text.join("tokenizer.json");
        if !vocab.is_file() {
            return Err(damaged(name, format!("lacks the file {}", vocab.display())));
        }
        let manifest = self.manifest(config, (self.settings)().vae, text_config);
        let files = [&vocab, weights, &file.path().to_owned(), &vae.to_owned()];
        let bundle = StarBundle::released(name, manifest, files.map(PathBuf::clone))?;
        Ok(Model::Video(Arc::new(bundle)))
    }

    /// The description of a model of these shapes.
    pub(in crate::bundle) fn manifest(
        &self,
        transformer: InfinityStarConfig,
        vae: InfinityStarVaeConfig,
        text: T5Config,
    ) -> StarManifest {
        let settings = (self.settings)();
        let longest = 1 + settings.longest_seconds * settings.fps;
        let clip = settings.layout.clip_frames * vae.frame_stride();
        StarManifest {
            kind: ModelKind::Star,
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
            fingerprints: BTreeMap::new(),
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

/// Opens the model that an open checkpoint belongs to, by the name of its folder or file: the released transformers have
/// the same shapes.
pub(super) fn by_file(name: &str, file: &WeightFile, places: &Places) -> Result<Model, ModelError> {
    let path = file.path().to_string_lossy().to_lowercase();
    let Some(preset) = PRESETS
        .iter()
        .rev()
        .find(|preset| path.contains(preset.sign))
    else {
        let signs: Vec<&str> = PRESETS.iter().map(|preset| preset.sign).collect();
        return Err(ModelError::Model {
            model: name.to_owned(),
            message: "is an InfinityStar transformer, but its name does not tell which one".into(),
            hint: Some(format!(
                "they have the same shapes and other schedules: put one of {} into the name of the file or its folder",
                signs.join(", ")
            )),
        });
    };
    let parts = preset.parts(places);
    let found = |part: &Part| part.found.clone().ok_or_else(|| lacks(name, part));
    preset.open(name, file, &found(&parts[1])?, &found(&parts[2])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ratio_of_both_releases() {
        for (preset, (width, height), longest) in PRESETS
            .iter()
            .zip([(1280, 720), (848, 480), (848, 480)])
            .map(|(p, s)| (p, s, if p.sign == "480p" { 10 } else { 5 }))
        {
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
