//! The shapes of the raster transformer.

use serde::{Deserialize, Serialize};

/// The shapes of a [`Raster`](super::Raster) transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RasterConfig {
    /// Channels of a token, a multiple of `heads`. A head has a multiple of 4 channels.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Classes; one more label stands for none.
    pub classes: usize,
    /// Codes.
    pub vocabulary: usize,
    /// Rows and columns of the grid.
    pub grid: [usize; 2],
    /// The hidden units of the feed-forward layers are rounded up to a multiple of this; 256 in the released models.
    pub multiple_of: usize,
}

impl RasterConfig {
    /// The released sizes of class-conditional models, `B`, `L`, `XL`, `XXL` and `3B`, of 16,384 codes on a grid
    /// (`autoregressive/models/gpt.py`); none for another name.
    pub fn llamagen(name: &str, grid: [usize; 2]) -> Option<Self> {
        let (depth, heads, width) = match name {
            "B" => (12, 12, 768),
            "L" => (24, 16, 1024),
            "XL" => (36, 20, 1280),
            "XXL" => (48, 24, 1536),
            "3B" => (48, 40, 2560),
            _ => return None,
        };
        Some(Self {
            width,
            depth,
            heads,
            classes: 1000,
            vocabulary: 16384,
            grid,
            multiple_of: 256,
        })
    }

    /// Codes of an image.
    pub fn tokens(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// Hidden units of the feed-forward layers: two thirds of four widths, rounded up.
    pub fn hidden(&self) -> usize {
        (8 * self.width / 3).next_multiple_of(self.multiple_of)
    }

    /// Parameters of the model.
    pub fn parameters(&self) -> usize {
        let c = self.width;
        let block = 4 * c * c + 3 * c * self.hidden() + 2 * c;
        self.depth * block + (self.classes + 1 + 2 * self.vocabulary) * c + c
    }

    /// # Panics
    /// If the sizes contradict each other.
    pub(super) fn check(&self) {
        let (width, heads) = (self.width, self.heads);
        assert!(
            heads > 0 && width.is_multiple_of(heads) && self.head_dim().is_multiple_of(4),
            "{width} channels do not make {heads} heads of a multiple of 4 channels"
        );
        assert!(self.depth > 0 && self.tokens() > 0 && self.multiple_of > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_sizes() {
        let millions = |name| {
            let config = RasterConfig::llamagen(name, [16, 16]).unwrap();
            (config.parameters() as f64 / 1e6).round()
        };
        assert_eq!(
            ["B", "L", "XL", "XXL"].map(millions),
            [111.0, 343.0, 775.0, 1411.0]
        );
        assert!(RasterConfig::llamagen("M", [16, 16]).is_none());
    }
}
