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

use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::{Resize, Scale, ScaleSchedule, resize};
use nextscale_var_core::mask::{BlockCausal, levels};
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
    /// How it passes together with all scales, under teacher forcing.
    pub teacher: Option<SourceTeacher>,
}

/// What is fixed where the source and all scales pass together.
#[derive(Debug, Clone)]
pub(crate) struct SourceTeacher {
    /// Positions of the source and the scales.
    pub rope: RopeTable,
    /// What they see in the first block: [`means_of_all`], then all scales.
    pub first: BlockCausal,
    /// What they see in the others.
    pub rest: BlockCausal,
}

impl SourceTeacher {
    /// Of a schedule whose last grid is that of the source.
    pub(super) fn new(rope: RopeTable, schedule: &ScaleSchedule, device: &Device) -> Self {
        let source = schedule.last().tokens();
        Self {
            rope,
            first: BlockCausal::from_hidden(
                hidden_in_first(schedule),
                source + schedule.tokens(),
                device,
            ),
            rest: BlockCausal::after(source, schedule, device),
        }
    }
}

/// What is hidden in the first block: a scale sees its own means of the source and all scales up to itself; the source
/// sees itself, which is its means on the last grid.
fn hidden_in_first(schedule: &ScaleSchedule) -> Vec<bool> {
    let last = schedule.len() - 1;
    let levels = levels(schedule);
    let source = std::iter::repeat_n((last, true), schedule.last().tokens());
    let queries = source.chain(levels.iter().map(|&k| (k, false)));
    queries
        .flat_map(|(query, is_source)| {
            let means = levels.iter().map(move |&key| key != query);
            means.chain(levels.iter().map(move |&key| is_source || key > query))
        })
        .collect()
}

/// Keys or values `[b, h, s + n, d]`, of which the first `s` are those of the source, with its means over the cells of each
/// scale in their place: `[b, h, n + n, d]`.
pub(super) fn means_of_all(x: Tensor<4>, schedule: &ScaleSchedule) -> Tensor<4> {
    let grid = schedule.last();
    let source = x.clone().slice_dim(2, 0..grid.tokens());
    let scales = x.slice_dim(2, grid.tokens()..);
    let means = schedule.scales().iter().map(|&scale| {
        let means = SourceMeans { grid, scale };
        means.mean(source.clone())
    });
    Tensor::cat(means.chain([scales]).collect(), 2)
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
        if self.grid == self.scale {
            return x;
        }
        let s = self.grid.tokens();
        let means = self.mean(x.clone().slice_dim(2, 0..s));
        Tensor::cat(vec![means, x.slice_dim(2, s..)], 2)
    }

    /// Keys or values of the source, `[b, h, s, d]`, to their means over the cells of the scale.
    fn mean(self, source: Tensor<4>) -> Tensor<4> {
        let Self { grid, scale } = self;
        if grid == scale {
            return source;
        }
        let [b, h, _, d] = source.dims();
        let cells = source
            .swap_dims(2, 3)
            .reshape([b, h * d, 1, grid.h, grid.w]);
        let means = resize(cells, scale, Resize::Area);
        means.reshape([b, h, d, scale.tokens()]).swap_dims(2, 3)
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
    fn a_scale_sees_its_own_means_and_the_scales_so_far() {
        let schedule = ScaleSchedule::square(&[1, 2]).unwrap();
        let seen: Vec<String> = hidden_in_first(&schedule)
            .chunks(10)
            .map(|row| row.iter().map(|&h| if h { '.' } else { 'x' }).collect())
            .collect();
        assert_eq!(seen[..4], [".xxxx....."; 4]); // the source
        assert_eq!(seen[4], "x....x....");
        assert_eq!(seen[5..], [".xxxxxxxxx"; 4]);
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
