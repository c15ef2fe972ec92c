//! The shapes of the diffusion transformer.

use serde::{Deserialize, Serialize};

/// What a [`Dit`](super::Dit) predicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DitPrediction {
    /// One number for each of the latent: a velocity or a noise.
    #[default]
    Mean,
    /// The released models: a noise, and a variance after it, which deterministic samplers leave out.
    MeanAndVariance,
}

/// The shapes of a [`Dit`](super::Dit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitConfig {
    /// Channels of a token, a multiple of 4 and of `heads`.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Classes; one more label stands for none.
    pub classes: usize,
    /// Channels of the latent.
    pub channels: usize,
    /// Rows and columns of the latent, a square.
    pub side: usize,
    /// Cells of the latent along each side of a token.
    pub patch: usize,
    /// What is predicted.
    #[serde(default)]
    pub prediction: DitPrediction,
}

impl DitConfig {
    /// The released sizes `S`, `B`, `L` and `XL` with patches of this side, for latents of 4 channels (`models.py`); none for another
    /// name.
    pub fn released(name: &str, patch: usize, side: usize) -> Option<Self> {
        let (depth, width, heads) = match name {
            "S" => (12, 384, 6),
            "B" => (12, 768, 12),
            "L" => (24, 1024, 16),
            "XL" => (28, 1152, 16),
            _ => return None,
        };
        Some(Self {
            width,
            depth,
            heads,
            classes: 1000,
            channels: 4,
            side,
            patch,
            prediction: DitPrediction::MeanAndVariance,
        })
    }

    /// Tokens of an image.
    pub fn tokens(&self) -> usize {
        (self.side / self.patch).pow(2)
    }

    /// Channels that are predicted.
    pub fn outputs(&self) -> usize {
        match self.prediction {
            DitPrediction::Mean => self.channels,
            DitPrediction::MeanAndVariance => 2 * self.channels,
        }
    }

    /// Parameters that are trained.
    pub fn parameters(&self) -> usize {
        let (c, cells) = (self.width, self.patch * self.patch);
        let linear = |from: usize, to: usize| from * to + to;
        let block = linear(c, 3 * c) + linear(c, c) + linear(c, 4 * c) + linear(4 * c, c);
        let block = block + linear(c, 6 * c);
        let time = linear(super::model::FREQUENCIES, c) + linear(c, c);
        let ends = linear(self.channels * cells, c) + linear(c, self.outputs() * cells);
        self.depth * block + time + ends + linear(c, 2 * c) + (self.classes + 1) * c
    }

    /// # Panics
    /// If the sizes contradict each other.
    pub(super) fn check(&self) {
        let Self {
            width,
            heads,
            side,
            patch,
            ..
        } = *self;
        assert!(
            heads > 0 && width.is_multiple_of(heads) && width.is_multiple_of(4),
            "{width} channels do not make {heads} heads and positions of two axes"
        );
        assert!(
            patch > 0 && side.is_multiple_of(patch),
            "a latent of {side} x {side} cells is not made of patches of {patch} x {patch}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_sizes() {
        let millions = |name| {
            let config = DitConfig::released(name, 2, 32).unwrap();
            (config.parameters() as f64 / 1e6).round()
        };
        assert_eq!(
            ["S", "B", "L", "XL"].map(millions),
            [33.0, 130.0, 458.0, 675.0]
        );
        assert_eq!(DitConfig::released("XL", 2, 32).unwrap().tokens(), 256);
        assert!(DitConfig::released("H", 2, 32).is_none());
    }
}
