//! Released models: everything that belongs together, by name.

use serde::{Deserialize, Serialize};

use crate::{
    clips::Layout, guidance::InfinityStarGuidance, infinity_star::InfinityStarConfig,
    templates::FrameSize, vae::InfinityStarVaeConfig,
};

/// A transformer, its tokenizer, its schedule and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfinityStarPreset {
    /// The transformer.
    pub config: InfinityStarConfig,
    /// The tokenizer.
    pub vae: InfinityStarVaeConfig,
    /// The size of a frame.
    pub size: FrameSize,
    /// Repetitions and kinds of code.
    pub layout: Layout,
    /// Guidance.
    pub guidance: InfinityStarGuidance,
    /// Divides the logits of the image.
    pub image_temperature: f64,
    /// Divides the logits of the clips.
    pub clip_temperature: f64,
    /// Frames a second.
    pub fps: usize,
    /// The longest video that the model was made for, in seconds.
    pub longest_seconds: usize,
}

impl InfinityStarPreset {
    /// `infinitystar_8b_720p_weights`: 1280 x 720, up to 5 s (`tools/infer_video_720p.py`).
    pub fn infinitystar_8b_720p() -> Self {
        Self {
            config: InfinityStarConfig::infinitystar_8b(),
            vae: InfinityStarVaeConfig::infinitystar(),
            size: FrameSize::M090,
            layout: Layout {
                image_repeats: vec![3; 15],
                clip_repeats: vec![3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 1, 1],
                semantic_scales: 12,
                clip_frames: 20,
            },
            guidance: InfinityStarGuidance::Apg {
                scale: 34.0,
                threshold: 0.05,
            },
            image_temperature: 1.0,
            clip_temperature: 0.4,
            fps: 16,
            longest_seconds: 5,
        }
    }

    /// `infinitystar_8b_480p_weights`: 848 x 480, up to 10 s (`tools/infer_video_480p.py`).
    pub fn infinitystar_8b_480p() -> Self {
        Self {
            size: FrameSize::M040,
            layout: Layout {
                image_repeats: vec![3; 14],
                clip_repeats: vec![3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 1],
                semantic_scales: 11,
                clip_frames: 20,
            },
            longest_seconds: 10,
            ..Self::infinitystar_8b_720p()
        }
    }

    /// `InfinityStarInteract_24K_iters`: 848 x 480, 5 s a prompt, each going on from the 5 s before
    /// (`tools/infer_interact_480p.py`).
    pub fn infinitystar_interact() -> Self {
        Self {
            guidance: InfinityStarGuidance::Cfg { scale: 3.0 },
            image_temperature: 0.5,
            clip_temperature: 0.5,
            longest_seconds: 5,
            ..Self::infinitystar_8b_480p()
        }
    }

    /// Latent frames of a video of so many seconds; 0 is an image.
    pub fn latent_frames(&self, seconds: usize) -> usize {
        1 + seconds * self.fps / self.vae.frame_stride()
    }

    /// A prompt as the model was trained on them, the length of the video in front. Images have no length.
    pub fn prompt(&self, prompt: &str, seconds: usize) -> String {
        match seconds {
            0 => prompt.to_owned(),
            _ => format!("<<<t={seconds}s>>>{prompt}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let preset = InfinityStarPreset::infinitystar_8b_480p();
        assert_eq!(preset.latent_frames(0), 1);
        assert_eq!(preset.latent_frames(10), 41);
        assert_eq!(preset.prompt("a cat", 5), "<<<t=5s>>>a cat");
    }

    #[test]
    fn layouts_fit_the_sizes() {
        for preset in [
            InfinityStarPreset::infinitystar_8b_720p(),
            InfinityStarPreset::infinitystar_8b_480p(),
            InfinityStarPreset::infinitystar_interact(),
        ] {
            let scales = preset.size.scales();
            assert_eq!(preset.layout.image_repeats.len(), scales);
            assert_eq!(preset.layout.clip_repeats.len(), scales);
            assert_eq!(preset.config.bits.detail, preset.vae.latent_channels());
        }
    }
}
