use serde::{Deserialize, Serialize};

use super::resample::Resample;
use crate::error::ConfigError;

/// The shapes of the auto-encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfinityStarVaeConfig {
    /// Channels of each level, fine to coarse, followed by those of the coarsest size: one more than levels.
    pub channels: Vec<usize>,
    /// The axes that each encoder level halves at its end; the decoder mirrors them.
    pub levels: Vec<Resample>,
    /// Residual blocks per encoder level.
    pub encoder_blocks: usize,
    /// Residual blocks per decoder level.
    pub decoder_blocks: usize,
    /// Channels between encoder and decoder, z. The quantised latent has 2 x 2 cells folded into its channels: 4 z.
    pub latent: usize,
    /// Side of a pixel patch, a power of two: the first convolution takes the pixels of a patch as channels. 1 in the
    /// released models; 2 or 4 saves most of the time of small models.
    #[serde(default = "one")]
    pub pixel_patch: usize,
}

fn one() -> usize {
    1
}

impl InfinityStarVaeConfig {
    /// The released `infinitystar_videovae.pth`: stride 16, 4 frames per latent frame, 64 channels (defaults of
    /// `infinity/models/videovae/models/load_vae_bsq_wan_absorb_patchify.py`).
    pub fn infinitystar() -> Self {
        Self {
            channels: vec![96, 192, 384, 384, 384],
            levels: vec![
                Resample::SpaceTime,
                Resample::SpaceTime,
                Resample::Space,
                Resample::None,
            ],
            encoder_blocks: 2,
            decoder_blocks: 3,
            latent: 16,
            pixel_patch: 1,
        }
    }

    /// Pixels along the side of a latent cell, s.
    pub fn stride(&self) -> usize {
        2 * self.pixel_patch * self.levels.iter().map(|l| l.space()).product::<usize>()
    }

    /// Frames per latent frame after the first one, p.
    pub fn frame_stride(&self) -> usize {
        self.levels.iter().map(|l| l.time()).product()
    }

    /// Channels of the quantised latent.
    pub fn latent_channels(&self) -> usize {
        4 * self.latent
    }

    /// Checks that the sizes are consistent.
    ///
    /// # Errors
    /// The first inconsistency.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.channels.len() != self.levels.len() + 1 {
            return Err(ConfigError::Levels {
                channels: self.channels.clone(),
                levels: self.levels.clone(),
            });
        }
        if !self.pixel_patch.is_power_of_two() {
            return Err(ConfigError::PixelPatch(self.pixel_patch));
        }
        for (widths, level) in self.channels.windows(2).zip(&self.levels) {
            let (from, to) = (widths[0], widths[1]);
            if *level == Resample::None && from != to {
                return Err(ConfigError::LevelWidth { from, to });
            }
        }
        Ok(())
    }

    /// Channels of a pixel patch.
    pub(super) fn pixel_channels(&self) -> usize {
        3 * self.pixel_patch * self.pixel_patch
    }
}
