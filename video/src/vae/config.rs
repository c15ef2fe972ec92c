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
            let cells = level.space() * level.space();
            let most = cells * from;
            if to == 0 || !to.is_multiple_of(cells) || !most.is_multiple_of(to) {
                return Err(ConfigError::Folding {
                    from,
                    to,
                    cells,
                    most,
                });
            }
        }
        Ok(())
    }

    /// Channels of a pixel patch.
    pub(super) fn pixel_channels(&self) -> usize {
        3 * self.pixel_patch * self.pixel_patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is refused would fail when the layers are made.
    #[test]
    fn channels_that_do_not_fold_are_refused() {
        let config = |channels: &[usize]| InfinityStarVaeConfig {
            channels: channels.to_vec(),
            levels: vec![Resample::SpaceTime, Resample::Time],
            encoder_blocks: 1,
            decoder_blocks: 1,
            latent: 2,
            pixel_patch: 1,
        };
        for channels in [[4, 8, 8], [4, 16, 16], [8, 8, 4]] {
            let config = config(&channels);
            assert_eq!(config.validate(), Ok(()), "{channels:?}");
            config.init(&burn::tensor::Device::flex());
        }
        for (channels, needed) in [
            (
                [4, 6, 6],
                "from 4 to 6 channels, where a multiple of 4 that divides 16",
            ),
            (
                [4, 32, 32],
                "from 4 to 32 channels, where a multiple of 4 that divides 16",
            ),
            (
                [4, 8, 12],
                "from 8 to 12 channels, where a multiple of 1 that divides 8",
            ),
            ([4, 8, 0], "from 8 to 0 channels"),
        ] {
            let error = config(&channels).validate().unwrap_err().to_string();
            assert!(error.contains(needed), "{error}");
        }
    }
}
