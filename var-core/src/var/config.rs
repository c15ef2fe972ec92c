//! The shapes and mathematics of a VAR transformer.

use nextscale_tokenizer::ScaleSchedule;
use serde::{Deserialize, Serialize};

use crate::attention::AttentionKind;

/// Where the gains, scales and shifts of a block come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modulation {
    /// A linear layer of the class in each block (d16 to d30).
    Own,
    /// One linear layer of the class for all blocks, and a learned offset in each (d36).
    Shared,
}

/// The shapes and mathematics of a [`Var`](super::Var) transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VarConfig {
    /// Channels of a token, C.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Classes, not counting the unconditional one.
    pub classes: usize,
    /// Vectors of the tokenizer's codebook, V.
    pub vocabulary: usize,
    /// Channels of the tokenizer's latent, c.
    pub channels: usize,
    /// The scales: positions are learned, so a model has one schedule.
    pub schedule: ScaleSchedule,
    /// Hidden size of the feed-forward layers as a multiple of the width.
    pub mlp_ratio: f64,
    /// Where gains, scales and shifts come from.
    pub modulation: Modulation,
    /// How queries and keys are compared.
    pub attention: AttentionKind,
}

/// Sides of the ten scales of the 256-pixel models.
const SIDES_256: [usize; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16];
/// Sides of the ten scales of the 512-pixel model.
const SIDES_512: [usize; 10] = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32];

impl VarConfig {
    /// A released 256-pixel model, `var_d16`, `var_d20`, `var_d24` or `var_d30`: width 64 `depth`, heads of 64.
    pub fn released_256(depth: usize) -> Self {
        Self::released(depth, &SIDES_256, Modulation::Own)
    }

    /// The released 512-pixel model `var_d36`, whose blocks share their modulation.
    pub fn released_512() -> Self {
        Self::released(36, &SIDES_512, Modulation::Shared)
    }

    /// The released schedule of `tokens` tokens, if there is one: 680 at 256 pixels, 2,240 at 512.
    pub fn released_schedule(tokens: usize) -> Option<ScaleSchedule> {
        let all = [SIDES_256, SIDES_512]
            .map(|sides| ScaleSchedule::square(&sides).expect("growing sides"));
        all.into_iter().find(|schedule| schedule.tokens() == tokens)
    }

    fn released(depth: usize, sides: &[usize], modulation: Modulation) -> Self {
        Self {
            width: 64 * depth,
            depth,
            heads: depth,
            classes: 1000,
            vocabulary: 4096,
            channels: 32,
            schedule: ScaleSchedule::square(sides).expect("growing sides"),
            mlp_ratio: 4.0,
            modulation,
            attention: AttentionKind::Cosine,
        }
    }

    /// Hidden size of the feed-forward layers.
    pub fn ffn_hidden(&self) -> usize {
        (self.width as f64 * self.mlp_ratio).round_ties_even() as usize
    }

    /// Parameters of one block, and how many of them belong to its modulation.
    pub fn block_parameters(&self) -> (usize, usize) {
        let (c, f) = (self.width, self.ffn_hidden());
        let modulation = match self.modulation {
            Modulation::Own => 6 * (c * c + c),
            Modulation::Shared => 6 * c,
        };
        let factors = match self.attention {
            AttentionKind::Cosine => self.heads,
            AttentionKind::Scaled => 0,
        };
        let attention = 4 * c * c + 3 * c + factors;
        (modulation + attention + 2 * c * f + f + c, modulation)
    }

    /// Parameters of the transformer.
    pub fn parameters(&self) -> usize {
        let (c, v) = (self.width, self.vocabulary);
        let first = self.schedule.scales()[0].tokens();
        let rows = first + self.schedule.tokens() + self.schedule.len() + self.classes + 1;
        let shared = match self.modulation {
            Modulation::Own => 0,
            Modulation::Shared => 6 * (c * c + c),
        };
        let ends = (self.channels + 1) * c + 2 * (c * c + c) + (c + 1) * v;
        rows * c + shared + ends + self.depth * self.block_parameters().0
    }

    /// Channels of an attention head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// Standard deviation of a fresh weight, `sqrt(1 / (3 C))`.
    pub(crate) fn init_std(&self) -> f64 {
        (1.0 / (3.0 * self.width as f64)).sqrt()
    }

    pub(crate) fn check(&self) {
        let (width, heads) = (self.width, self.heads);
        assert!(
            heads > 0 && width.is_multiple_of(heads) && width > 0,
            "width {width} does not split into {heads} heads"
        );
        assert!(self.depth > 0, "a transformer needs a block");
        assert!(
            self.vocabulary > 0 && self.channels > 0,
            "a codebook of {} vectors of {} channels",
            self.vocabulary,
            self.channels
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Module;

    #[test]
    fn released_sizes() {
        let d16 = VarConfig::released_256(16);
        assert_eq!(
            (d16.width, d16.head_dim(), d16.ffn_hidden()),
            (1024, 64, 4096)
        );
        assert_eq!(d16.schedule.tokens(), 680);
        assert_eq!(VarConfig::released_512().schedule.tokens(), 2240);
        for config in [d16, VarConfig::released_512()] {
            let model = config.init(&burn::tensor::Device::flex()); // nothing is drawn
            assert_eq!(config.parameters(), model.num_params());
            assert_eq!(config.block_parameters().0, model.blocks[0].num_params());
        }
    }
}
