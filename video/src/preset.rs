//! The released models: transformer, tokenizer, schedule and settings.

use serde::{Deserialize, Serialize};

use crate::{
    clips::Layout, guidance::InfinityStarGuidance, infinity_star::InfinityStarConfig,
    templates::FrameSize, vae::InfinityStarVaeConfig,
};

/// A transformer with its tokenizer, schedule and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfinityStarPreset {
    /// The transformer.
    pub config: InfinityStarConfig,
    /// The tokenizer.
    pub vae: InfinityStarVaeConfig,
    /// The frame size.
    pub size: FrameSize,
    /// Passes per scale and kinds of code.
    pub layout: Layout,
    /// Guidance.
    pub guidance: InfinityStarGuidance,
    /// Temperature of the image.
    pub image_temperature: f64,
    /// Temperature of the clips.
    pub clip_temperature: f64,
    /// Frames per second.
    pub fps: usize,
    /// The length of the longest video that the model was trained for, in seconds.
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

    /// `InfinityStarInteract_24K_iters`: 848 x 480, 5 s per prompt, each continuing the previous 5 s
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
