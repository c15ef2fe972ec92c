//! The shapes of the models at a resolution.

use nextscale_comparators::dit::{DitConfig, DitPrediction};
use nextscale_comparators::raster::{RasterCache, RasterConfig};
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::var::{Modulation, VarConfig};

use super::options::{ModelSize, Paradigm};
use crate::operations::Operations;

/// Codes of the tokenizer.
pub(super) const VOCABULARY: usize = 4096;
/// Channels of its latent.
pub(super) const CHANNELS: usize = 32;
/// Classes.
const CLASSES: usize = 1000;
/// Channels of the latent of diffusion, and the side of its patches.
const DIFFUSED: usize = 4;

/// What an image costs whose latent has `side` x `side` cells, without guidance; of diffusion in so many steps.
pub(super) fn operations(
    paradigm: Paradigm,
    size: ModelSize,
    side: usize,
    steps: usize,
) -> Operations {
    let raster = |cache| Operations::raster(&raster_config(size, side), cache);
    match paradigm {
        Paradigm::Var => Operations::var(&var_config(size, side)),
        Paradigm::RasterKept => raster(RasterCache::Kept),
        Paradigm::RasterRecomputed => raster(RasterCache::Recomputed),
        Paradigm::Dit => Operations::dit(&dit_config(size, side), steps),
    }
}

/// Bytes of the weights in 32 bits, of keys and values, and of the shares of attention of the last pass.
pub(super) fn bytes(paradigm: Paradigm, size: ModelSize, side: usize) -> f64 {
    let (parameters, queries, keys) = match paradigm {
        Paradigm::Var => {
            let config = var_config(size, side);
            let schedule = &config.schedule;
            (
                config.parameters(),
                schedule.last().tokens(),
                schedule.tokens(),
            )
        }
        Paradigm::RasterKept | Paradigm::RasterRecomputed => {
            let config = raster_config(size, side);
            let kept = paradigm == Paradigm::RasterKept;
            let tokens = config.tokens();
            (config.parameters(), if kept { 1 } else { tokens }, tokens)
        }
        Paradigm::Dit => {
            let config = dit_config(size, side);
            let tokens = config.tokens();
            (config.parameters(), tokens, tokens)
        }
    };
    let kept = 2 * size.depth * size.width * keys;
    let shares = size.heads * queries * keys;
    4.0 * (parameters as f64 + kept as f64 + shares as f64)
}

/// The scales of a latent of this side: those of the released models where they have it, else sides that grow by about a third.
fn schedule(side: usize) -> ScaleSchedule {
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

/// The shapes of VAR.
pub(super) fn var_config(size: ModelSize, side: usize) -> VarConfig {
    VarConfig {
        width: size.width,
        depth: size.depth,
        heads: size.heads,
        classes: CLASSES,
        vocabulary: VOCABULARY,
        channels: CHANNELS,
        schedule: schedule(side),
        mlp_ratio: 4.0,
        modulation: Modulation::Own,
        attention: AttentionKind::Cosine,
    }
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
        prediction: DitPrediction::Mean,
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
                let all = operations(paradigm, SIZE, side, 10);
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
        let one = operations(Paradigm::Var, SIZE, 1, 1);
        assert_eq!(one.attention, 4.0 * 2.0 * 64.0);
        let weights = 2.0 * 18.0 * 64.0 * 64.0 + 64.0 * 4096.0;
        assert_eq!((one.linear, one.passes), (2.0 * weights, 1));
        let kept = operations(Paradigm::RasterKept, SIZE, 2, 1);
        assert_eq!((kept.attention, kept.passes), (4.0 * 2.0 * 64.0 * 10.0, 4));
        let anew = operations(Paradigm::RasterRecomputed, SIZE, 2, 1);
        assert_eq!(anew.attention, 4.0 * 2.0 * 64.0 * 30.0);
    }

    #[test]
    fn memory_is_mostly_weights() {
        let of = |paradigm| bytes(paradigm, SIZE, 16);
        let weights = 4.0 * raster_config(SIZE, 16).parameters() as f64;
        let kept = 4.0 * (2 * 2 * 64 * 256) as f64;
        assert_eq!(of(Paradigm::RasterKept), weights + kept + 4.0 * 512.0);
        assert!(of(Paradigm::RasterRecomputed) > of(Paradigm::RasterKept));
    }

    #[test]
    fn schedules_end_at_their_side() {
        for side in [1, 2, 5, 8, 16, 24, 32, 48] {
            let schedule = schedule(side);
            assert_eq!((schedule.scales()[0].w, schedule.last().w), (1, side));
        }
    }
}
