//! Floating point operations of an image, counted: 2 for each weight and token, 4 for each channel of a pair of query and key.

use nextscale_comparators::dit::DitConfig;
use nextscale_comparators::raster::RasterConfig;
use nextscale_tokenizer::ScaleSchedule;
use serde::{Deserialize, Serialize};

use super::options::{ModelSize, Paradigm};

/// Codes of the tokenizer.
pub(super) const VOCABULARY: usize = 4096;
/// Channels of its latent.
pub(super) const CHANNELS: usize = 32;
/// Classes.
pub(super) const CLASSES: usize = 1000;
/// Channels of the latent of diffusion, and the side of its patches.
pub(super) const DIFFUSED: usize = 4;

/// What an image costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Operations {
    /// Of the attention: products of queries with keys, and of their shares with values.
    pub attention: f64,
    /// Of everything with weights.
    pub linear: f64,
    /// Passes through the transformer.
    pub passes: usize,
}

impl Operations {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.attention + self.linear
    }

    /// Those of an image whose latent has `side` x `side` cells, without guidance; of diffusion in so many steps.
    pub fn of(paradigm: Paradigm, size: ModelSize, side: usize, steps: usize) -> Self {
        match paradigm {
            Paradigm::Var => var(size, &schedule(side)),
            Paradigm::RasterKept => raster(size, side, true),
            Paradigm::RasterRecomputed => raster(size, side, false),
            Paradigm::Dit => dit(size, side, steps),
        }
    }
}

/// The scales of a latent of this side: those of the released models where they have it, else sides that grow by about a third.
pub(super) fn schedule(side: usize) -> ScaleSchedule {
    let sides = match side {
        16 => vec![1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
        32 => vec![1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
        _ => {
            let mut sides = vec![side];
            while let Some(&last) = sides.last().filter(|&&last| last > 1) {
                let next = ((last as f64 / 1.33).round() as usize).min(last - 1);
                sides.push(next);
            }
            sides.reverse();
            sides
        }
    };
    ScaleSchedule::square(&sides).expect("sides that grow from 1")
}

/// Operations of attention from `queries` to `keys` in all blocks.
fn attention(size: ModelSize, queries: f64, keys: f64) -> f64 {
    4.0 * size.depth as f64 * size.width as f64 * queries * keys
}

fn var(size: ModelSize, schedule: &ScaleSchedule) -> Operations {
    let c = size.width as f64;
    // Attention has four matrices, the feed-forward layers eight.
    let per_token = 2.0 * (size.depth as f64 * 12.0 * c * c + c * VOCABULARY as f64);
    let mut all = Operations {
        passes: schedule.len(),
        linear: 2.0 * size.depth as f64 * 6.0 * c * c, // gains, scales and shifts of the class
        ..Operations::default()
    };
    let mut seen = 0.0;
    for scale in schedule.scales() {
        let tokens = scale.tokens() as f64;
        seen += tokens;
        all.linear += per_token * tokens;
        all.attention += attention(size, tokens, seen);
    }
    all
}

/// The shapes of the raster transformer.
pub(super) fn raster_config(size: ModelSize, side: usize) -> RasterConfig {
    RasterConfig {
        width: size.width,
        depth: size.depth,
        heads: size.heads,
        classes: CLASSES,
        vocabulary: VOCABULARY,
        grid: [side, side],
        multiple_of: 32,
    }
}

fn raster(size: ModelSize, side: usize, kept: bool) -> Operations {
    let config = raster_config(size, side);
    let (c, n) = (size.width as f64, config.tokens());
    let block = 4.0 * c * c + 3.0 * c * config.hidden() as f64;
    let per_token = 2.0 * size.depth as f64 * block;
    let mut all = Operations {
        passes: n,
        linear: 2.0 * c * (VOCABULARY * n) as f64,
        ..Operations::default()
    };
    for seen in 1..=n {
        let seen = seen as f64;
        let computed = if kept { 1.0 } else { seen };
        all.linear += per_token * computed;
        all.attention += attention(size, computed, seen);
    }
    all
}

/// The shapes of the diffusion transformer: tokens are cells of VAR's latent, patches of 2 x 2 cells of its own.
pub(super) fn dit_config(size: ModelSize, side: usize) -> DitConfig {
    DitConfig {
        width: size.width,
        depth: size.depth,
        heads: size.heads,
        classes: CLASSES,
        channels: DIFFUSED,
        side: 2 * side,
        patch: 2,
        prediction: nextscale_comparators::dit::DitPrediction::Mean,
    }
}

fn dit(size: ModelSize, side: usize, steps: usize) -> Operations {
    let config = dit_config(size, side);
    let (c, tokens) = (size.width as f64, config.tokens() as f64);
    let patch = (2 * DIFFUSED * config.patch * config.patch) as f64;
    let blocks = size.depth as f64 * (12.0 * c * c * tokens + 6.0 * c * c);
    let step = Operations {
        attention: attention(size, tokens, tokens),
        linear: 2.0 * (blocks + c * patch * tokens),
        passes: 1,
    };
    Operations {
        attention: step.attention * steps as f64,
        linear: step.linear * steps as f64,
        passes: steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::PowerLaw;

    const SIZE: ModelSize = ModelSize {
        width: 64,
        depth: 2,
        heads: 2,
    };

    #[test]
    fn attention_grows_as_the_paper_counts() {
        let exponent = |paradigm| {
            let points = [64, 96, 128, 192, 256].map(|side: usize| {
                let all = Operations::of(paradigm, SIZE, side, 10);
                (side as f64, all.attention)
            });
            PowerLaw::through(points).unwrap().exponent
        };
        for (paradigm, expected) in [
            (Paradigm::Var, 4.0),
            (Paradigm::RasterKept, 4.0),
            (Paradigm::RasterRecomputed, 6.0),
            (Paradigm::Dit, 4.0),
        ] {
            let found = exponent(paradigm);
            assert!((found - expected).abs() < 0.05, "{paradigm:?}: {found}");
        }
    }

    #[test]
    fn operations_of_one_code_and_one_scale() {
        // One token that sees itself: 12 matrices of 64 x 64 in two blocks, and the codes.
        let one = Operations::of(Paradigm::Var, SIZE, 1, 1);
        assert_eq!(one.attention, 4.0 * 2.0 * 64.0);
        let weights = 2.0 * 18.0 * 64.0 * 64.0 + 64.0 * 4096.0;
        assert_eq!((one.linear, one.passes), (2.0 * weights, 1));
        let kept = Operations::of(Paradigm::RasterKept, SIZE, 2, 1);
        assert_eq!((kept.attention, kept.passes), (4.0 * 2.0 * 64.0 * 10.0, 4));
        let anew = Operations::of(Paradigm::RasterRecomputed, SIZE, 2, 1);
        assert_eq!(anew.attention, 4.0 * 2.0 * 64.0 * 30.0);
    }

    #[test]
    fn schedules_end_at_their_side() {
        for side in [1, 2, 5, 8, 16, 24, 32, 48] {
            let schedule = schedule(side);
            assert_eq!((schedule.scales()[0].w, schedule.last().w), (1, side));
        }
    }
}
