//! Which frames of each clip are looked at.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::seq::SliceRandom as _;

use crate::shuffle::rng_for;

/// The frames of the clips of a batch in random order.
pub(crate) struct Frames {
    /// For each clip a permutation of its frames.
    orders: Vec<Vec<usize>>,
}

impl Frames {
    /// Those of the batch `number` with `clips` clips of `length` frames.
    pub(crate) fn draw(seed: u64, number: u64, clips: usize, length: usize) -> Self {
        let mut rng = rng_for(seed ^ 0x66_7261_6d65, number);
        let orders = (0..clips).map(|_| {
            let mut order: Vec<usize> = (0..length).collect();
            order.shuffle(&mut rng);
            order
        });
        Self {
            orders: orders.collect(),
        }
    }

    /// At most `count` frames of each clip; `images` are all frames, `[clips * length, 3, h, w]`.
    pub(crate) fn choose(&self, images: Tensor<4>, count: usize) -> Tensor<4> {
        match self.indices(count) {
            Some(indices) => {
                let device = images.device();
                images.select(0, index_tensor(indices, &device))
            }
            None => images,
        }
    }

    /// Positions of the chosen frames among all frames; none if all are chosen.
    fn indices(&self, count: usize) -> Option<Vec<i64>> {
        let clips = self.orders.iter().enumerate();
        let mut indices = Vec::new();
        for (clip, order) in clips {
            if order.len() <= count {
                return None;
            }
            let mut chosen = order[..count].to_vec();
            chosen.sort_unstable();
            indices.extend(chosen.iter().map(|at| (clip * order.len() + at) as i64));
        }
        Some(indices)
    }
}

fn index_tensor(indices: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = indices.len();
    Tensor::from_data(TensorData::new(indices, [count]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clip_gives_different_frames_and_each_batch_others() {
        let of = |number| Frames::draw(3, number, 4, 5);
        let first = of(0).indices(2).unwrap();
        assert_eq!(first, of(0).indices(2).unwrap());
        assert!((1..20).any(|number| of(number).indices(2).unwrap() != first));
        for (clip, pair) in first.chunks(2).enumerate() {
            let from = 5 * clip as i64;
            assert!(from <= pair[0] && pair[0] < pair[1] && pair[1] < from + 5);
        }
        assert!(of(0).indices(5).is_none());
        assert!(Frames::draw(3, 0, 4, 1).indices(2).is_none());
        let images = Tensor::<1, Int>::arange(0..20, &Device::flex()).float();
        let chosen = of(0).choose(images.reshape([20, 1, 1, 1]), 2);
        let chosen: Vec<f32> = chosen.into_data().iter().collect();
        let expected: Vec<f32> = first.iter().map(|&at| at as f32).collect();
        assert_eq!(chosen, expected);
    }
}
