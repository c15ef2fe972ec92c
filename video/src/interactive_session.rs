//! Interactive videos: prompt after prompt, each continuing the video so far.
//!
//! A turn has no image of its own. It attends to the previous clip, downsampled, and to three frames at full size: the
//! first of the session and the last two (`tools/infer_interact_480p.py` and `ar_infer_infinity_star_interact` of the
//! reference).

use burn::tensor::Tensor;
use nextscale_tokenizer::{Resize, Scale, resize};

use crate::{generate::Condition, infinity_star::Segment};

/// The scale to whose grid the released model downsamples the previous clip.
pub const SEMANTIC_SCALE: usize = 7;

/// Positions of the conditions on the scale axis.
const SEMANTIC_POSITION: usize = 800;
const DETAIL_POSITION: usize = 801;

/// The state of an interactive video between turns.
#[derive(Debug, Clone)]
pub struct InteractiveSession {
    first: Tensor<5>,
    former: Tensor<5>,
}

impl InteractiveSession {
    /// Starts from the latent of a given clip, `[b, c, 1 + n, h, w]`, with `n` latent frames per turn.
    ///
    /// # Panics
    /// If there are fewer than three frames.
    pub fn new(latent: Tensor<5>) -> Self {
        let t = latent.dims()[2];
        assert!(
            t > 2,
            "a session starts from at least 3 latent frames, not {t}"
        );
        Self {
            first: latent.clone().slice_dim(2, 0..1),
            former: latent,
        }
    }

    /// The clip that the next turn continues, `[b, c, 1 + n, h, w]`.
    pub fn former(&self) -> &Tensor<5> {
        &self.former
    }

    /// The conditions of the next turn; `grid` are the rows and columns of the downsampled clip, those of scale
    /// [`SEMANTIC_SCALE`].
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

    /// Adds the latent frames of a turn, `[b, c, n, h, w]`, and returns the latent to decode, `[b, c, 2n, h, w]`: the
    /// previous frames followed by the new ones. Of the decoded frames only the new ones are shown, those of the last `n`
    /// latent frames.
    pub fn advance(&mut self, turn: Tensor<5>) -> Tensor<5> {
        let latent = Tensor::cat(vec![self.recent(), turn], 2);
        let (t, keep) = (latent.dims()[2], self.former.dims()[2]);
        self.former = latent.clone().slice_dim(2, t - keep..t);
        latent
    }

    /// The previous clip without its first frame.
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
        let mut session = InteractiveSession::new(clip(0, 5));
        let [semantic, detail] = session.conditions([1, 1]);
        assert_eq!(semantic.cells.dims(), [1, 1, 4, 1, 1]);
        assert_eq!(
            (semantic.frames, semantic.position),
            (vec![1, 2, 3, 4], 800)
        );
        assert_eq!(frames(&detail.cells), [0.0, 3.0, 4.0]);
        assert_eq!((detail.frames, detail.position), (vec![0, 3, 4], 801));
        let decode = session.advance(clip(5, 4));
        assert_eq!(frames(&decode), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(frames(session.former()), [4.0, 5.0, 6.0, 7.0, 8.0]);
        let [_, detail] = session.conditions([1, 1]);
        assert_eq!(frames(&detail.cells), [0.0, 7.0, 8.0]);
    }
}
