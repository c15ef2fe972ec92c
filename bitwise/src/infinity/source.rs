//! The image that an edit starts from (VAREdit, arXiv 2508.15772): read once, before the first scale.
//!
//! ```text
//! block 0    scale k attends to   mean_k(keys of the source), keys of scales <= k
//! the others                      keys of the source,         keys of scales <= k
//! ```
//!
//! Its tokens are the cells of the auto-encoder's latent, which are not quantised, on the grid of the last scale. They pass
//! through all blocks, attend to themselves and to the prompt, and their keys and values stay in the cache. In the first
//! block each scale sees them averaged over its own cells (`SelfAttention.forward` of the reference).

use burn::tensor::Tensor;
use nextscale_tokenizer::{Resize, Scale, ScaleSchedule, resize};
use nextscale_var_core::rope::{RopeTable, grid_positions};

/// What is fixed for the source of a plan.
#[derive(Debug, Clone)]
pub(crate) struct SourcePlan {
    /// Rows and columns of its tokens: the grid of the last scale.
    pub grid: Scale,
    /// Its row of the scale embeddings.
    pub level: usize,
    /// Its positions.
    pub rope: RopeTable,
}

/// Positions of the tokens of the source, and of all scales.
///
/// The released code keeps one table for each aspect ratio: the source of `reference`, then the scales of its schedule.
/// Every schedule takes its tokens from the front of it, source first.
///
/// # Panics
/// If a schedule that does not end with `reference` has more tokens than the source of `reference`.
pub(super) fn edit_positions(
    schedule: &ScaleSchedule,
    reference: Scale,
) -> (Vec<[f32; 2]>, Vec<[f32; 2]>) {
    let (h, w, source) = (reference.h, reference.w, schedule.last().tokens());
    let beyond = |n: usize| [(n / w + h) as f32, (n % w + w) as f32];
    let positions = |from: usize, to: usize| (from..to).map(beyond).collect();
    if schedule.last() == reference {
        return (positions(0, source), grid_positions(schedule, reference));
    }
    let all = source + schedule.tokens();
    assert!(
        all <= h * w,
        "{all} tokens of a source and its scales do not fit into the {h} x {w} positions of the reference"
    );
    (positions(0, source), positions(source, all))
}

/// How the first block sees the source at one scale.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceMeans {
    /// The grid of the source.
    pub grid: Scale,
    /// The grid of the scale.
    pub scale: Scale,
}

impl SourceMeans {
    /// Keys or values `[b, h, s + n, d]`, of which the first `s` are those of the source, with their means over the cells of
    /// the scale in their place.
    pub(super) fn of(self, x: Tensor<4>) -> Tensor<4> {
        let Self { grid, scale } = self;
        if grid == scale {
            return x;
        }
        let ([b, h, all, d], s) = (x.dims(), grid.tokens());
        let source = x.clone().slice_dim(2, 0..s).swap_dims(2, 3);
        let cells = source.reshape([b, h * d, 1, grid.h, grid.w]);
        let means = resize(cells, scale, Resize::Area);
        let means = means.reshape([b, h, d, scale.tokens()]).swap_dims(2, 3);
        Tensor::cat(vec![means, x.slice_dim(2, s..all)], 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_source_lies_beyond_the_image() {
        let schedule = ScaleSchedule::square(&[1, 2, 4]).unwrap();
        let (source, scales) = edit_positions(&schedule, Scale::image(4, 4));
        assert_eq!(
            (source[0], source[1], source[15]),
            ([4.0, 4.0], [4.0, 5.0], [7.0, 7.0])
        );
        assert_eq!(
            (scales[0], scales[4], scales[20]),
            ([0.0, 0.0], [2.0, 2.0], [3.0, 3.0])
        );
    }

    #[test]
    fn a_smaller_schedule_fills_the_place_of_the_source() {
        let schedule = ScaleSchedule::square(&[1, 2]).unwrap();
        let (source, scales) = edit_positions(&schedule, Scale::image(4, 4));
        assert_eq!(source, [[4.0, 4.0], [4.0, 5.0], [4.0, 6.0], [4.0, 7.0]]);
        assert_eq!((scales[0], scales[4]), ([5.0, 4.0], [6.0, 4.0]));
    }

    #[test]
    fn means_take_the_place_of_the_source() {
        let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 6.0, 9.0], &Device::flex());
        let means = SourceMeans {
            grid: Scale::image(2, 2),
            scale: Scale::image(1, 2),
        };
        let seen: Vec<f32> = means
            .of(x.reshape([1, 1, 5, 1]))
            .into_data()
            .iter()
            .collect();
        assert_eq!(seen, [2.0, 4.0, 9.0]);
    }
}
