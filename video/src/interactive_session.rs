//! Interactive videos: prompt after prompt, each going on from the seconds before.
//!
//! A turn has no image of its own. It sees the clip before it, small, and three of its frames at full size: the first of
//! the whole story and the last two (`tools/infer_interact_480p.py` and `ar_infer_infinity_star_interact` of the
//! reference).

use burn::tensor::Tensor;
use nextscale_tokenizer::{Resize, Scale, resize};

use crate::{generate::Condition, infinity_star::Segment};

/// The scale whose grid the small clip has, in the released model.
pub const SEMANTIC_SCALE: usize = 7;

/// Scale coordinates of the conditions.
const SEMANTIC_POSITION: usize = 800;
const DETAIL_POSITION: usize = 801;

/// What a story remembers from turn to turn.
#[derive(Debug, Clone)]
pub struct InteractiveSession {
    first: Tensor<5>,
    former: Tensor<5>,
}

impl InteractiveSession {
    /// Begins with the latent of a given clip, `[b, c, 1 + n, h, w]`, where `n` is the number of latent frames of a turn.
    ///
    /// # Panics
    /// If there are not three frames at least.
    pub fn new(latent: Tensor<5>) -> Self {
        let t = latent.dims()[2];
        assert!(t > 2, "a story that begins with {t} latent frames");
        Self {
            first: latent.clone().slice_dim(2, 0..1),
            former: latent,
        }
    }

    /// The clip that the next turn goes on from, `[b, c, 1 + n, h, w]`.
    pub fn former(&self) -> &Tensor<5> {
        &self.former
    }

    /// What the next turn sees; `grid` are the rows and columns of the small clip, those of scale [`SEMANTIC_SCALE`].
    pub fn conditions(&self, grid: [usize; 2]) -> [Condition; 2] {
        let recent = self.recent();
        let n = recent.dims()[2];
        let small = Scale::new(n, grid[0], grid[1]);
        let last = recent.clone().slice_dim(2, n - 2..n);
        [
            Condition {
                segment: Segment::Semantic,
                cells: resize(recent, small, Resize::Area),
                frames: (1..=n).collect(),
                position: SEMANTIC_POSITION,
            },
            Condition {
                segment: Segment::Detail,
                cells: Tensor::cat(vec![self.first.clone(), last], 2),
                frames: vec![0, n - 1, n],
                position: DETAIL_POSITION,
            },
        ]
    }

    /// Adds the latent frames of a turn, `[b, c, n, h, w]`, and returns what to decode for it, `[b, c, 2n, h, w]`: the
    /// frames before and the new ones. Of the pixels only those of the new frames are shown, `n` latent frames' worth
    /// from the end.
    pub fn go_on(&mut self, turn: Tensor<5>) -> Tensor<5> {
        let both = Tensor::cat(vec![self.recent(), turn], 2);
        let (t, keep) = (both.dims()[2], self.former.dims()[2]);
        self.former = both.clone().slice_dim(2, t - keep..t);
        both
    }

    /// The former clip without its first frame.
    fn recent(&self) -> Tensor<5> {
        let t = self.former.dims()[2];
        self.former.clone().slice_dim(2, 1..t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};

    fn clip(from: i64, frames: usize) -> Tensor<5> {
        let numbers = Tensor::<1, Int>::arange(from..from + frames as i64, &Device::flex());
        let column = numbers.float().reshape([1, 1, frames, 1, 1]);
        column.expand([1, 1, frames, 2, 2])
    }

    fn frames(x: &Tensor<5>) -> Vec<f32> {
        let one = x.clone().slice([0..1, 0..1, 0..x.dims()[2], 0..1, 0..1]);
        one.into_data().iter().collect()
    }

    #[test]
    fn the_first_frame_is_never_forgotten() {
        let mut story = InteractiveSession::new(clip(0, 5));
        let [semantic, detail] = story.conditions([1, 1]);
        assert_eq!(semantic.cells.dims(), [1, 1, 4, 1, 1]);
        assert_eq!(
            (semantic.frames, semantic.position),
            (vec![1, 2, 3, 4], 800)
        );
        assert_eq!(frames(&detail.cells), [0.0, 3.0, 4.0]);
        assert_eq!((detail.frames, detail.position), (vec![0, 3, 4], 801));
        let decode = story.go_on(clip(5, 4));
        assert_eq!(frames(&decode), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(frames(story.former()), [4.0, 5.0, 6.0, 7.0, 8.0]);
        let [_, detail] = story.conditions([1, 1]);
        assert_eq!(frames(&detail.cells), [0.0, 7.0, 8.0]);
    }
}
