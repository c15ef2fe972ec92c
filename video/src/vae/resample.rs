//! Down- and upsampling by folding cells into channels and back.
//!
//! Both add a shortcut without parameters, as in deep-compression auto-encoders (arXiv:2410.10733);
//! `DCDownBlock3d` and `DCUpBlock3d` of `infinity/models/videovae/modules/conv_wan.py`.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::{
    conv3d::{CausalConv, FrameCache},
    norm::ChannelNorm,
};

/// The axes that a level halves or doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// None.
    None,
    /// Rows and columns.
    Space,
    /// Rows, columns and frames; the first frame of a clip stays a single frame.
    SpaceTime,
    /// Frames; the first frame of a clip stays a single frame. No released model uses it.
    Time,
}

impl Resample {
    /// The factor along rows and columns.
    pub const fn space(self) -> usize {
        match self {
            Self::None | Self::Time => 1,
            Self::Space | Self::SpaceTime => 2,
        }
    }

    /// The factor along frames.
    pub const fn time(self) -> usize {
        match self {
            Self::None | Self::Space => 1,
            Self::SpaceTime | Self::Time => 2,
        }
    }
}

/// Downsampling: halves rows and columns if `space` is 2, and frames if `time` is 2.
#[derive(Module, Debug)]
pub struct Down {
    /// Norm before the convolution.
    pub norm: ChannelNorm,
    /// c to `c' / space^2`.
    pub conv: CausalConv,
    /// The factor along rows and columns.
    pub space: usize,
    /// The factor along frames.
    pub time: usize,
}

impl Down {
    /// From `from` to `to` channels.
    ///
    /// # Panics
    /// If `to` is not a multiple of `space^2`, or does not divide `space^2 from`.
    pub(crate) fn init(from: usize, to: usize, resample: Resample, device: &Device) -> Self {
        let (space, time) = (resample.space(), resample.time());
        let cells = space * space;
        assert!(
            to.is_multiple_of(cells) && (cells * from).is_multiple_of(to),
            "{from} channels cannot be folded into {to}"
        );
        Self {
            norm: ChannelNorm::init(from, device),
            conv: CausalConv::init(from, to / cells, 3, device),
            space,
            time,
        }
    }

    /// `[b, c, t, h, w]` to `[b, c', t', h', w']`.
    pub(crate) fn forward(&self, x: Tensor<5>, first: bool, cache: &mut FrameCache) -> Tensor<5> {
        let y = self.conv.forward(self.norm.forward_silu(x.clone()), cache);
        let fold = |x| if self.space == 1 { x } else { fold(x) };
        let y = average_frames(fold(y), self.time, first);
        let x = average_frames(fold(x), self.time, first);
        let [b, to, t, h, w] = y.dims();
        let groups = x.dims()[1] / to;
        let shortcut = x.reshape([b, groups, to, t, h, w]).mean_dim(1);
        y + shortcut.reshape([b, to, t, h, w])
    }
}

/// Folds 2 x 2 cells into channels, row and column outermost: `[b, c, t, h, w]` to `[b, 4c, t, h/2, w/2]`, channel
/// `(2 row + column) c + channel`.
fn fold(x: Tensor<5>) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    x.reshape([b, c, t, h / 2, 2, w / 2, 2])
        .permute([0, 4, 6, 1, 2, 3, 5])
        .reshape([b, 4 * c, t, h / 2, w / 2])
}

/// Averages every `time` frames. The first frame of a `first` chunk is unchanged.
fn average_frames(x: Tensor<5>, time: usize, first: bool) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    let lone = usize::from(first);
    let rest = (t - lone) / time;
    if time == 1 || rest == 0 {
        return x;
    }
    let tail = x.clone().slice_dim(2, lone..t);
    let tail = tail.reshape([b, c, rest, time, h * w]).mean_dim(3);
    let tail = tail.reshape([b, c, rest, h, w]);
    match lone {
        0 => tail,
        _ => Tensor::cat(vec![x.slice_dim(2, 0..lone), tail], 2),
    }
}

/// Upsampling: doubles rows and columns if `space` is 2, and frames if `time` is 2.
#[derive(Module, Debug)]
pub struct Up {
    /// Norm before the convolution.
    pub norm: ChannelNorm,
    /// c to `space^2 time` c'.
    pub conv: CausalConv,
    /// The factor along rows and columns.
    pub space: usize,
    /// The factor along frames.
    pub time: usize,
}

impl Up {
    /// From `from` to `to` channels.
    ///
    /// # Panics
    /// If `from` does not divide `space^2 time to`.
    pub(crate) fn init(from: usize, to: usize, resample: Resample, device: &Device) -> Self {
        let (space, time) = (resample.space(), resample.time());
        let wide = space * space * time * to;
        assert!(
            wide.is_multiple_of(from),
            "{from} channels do not divide the {wide} of {to} channels unfolded"
        );
        Self {
            norm: ChannelNorm::init(from, device),
            conv: CausalConv::init(from, wide, 3, device),
            space,
            time,
        }
    }

    /// `[b, c, t, h, w]` to `[b, c', t', h', w']`.
    pub(crate) fn forward(&self, x: Tensor<5>, first: bool, cache: &mut FrameCache) -> Tensor<5> {
        let y = self.conv.forward(self.norm.forward_silu(x.clone()), cache);
        let repeats = y.dims()[1] / x.dims()[1];
        let unfold = |x| unfold(x, self.space, self.time);
        let sum = unfold(y) + unfold(x.repeat_dim(1, repeats));
        if first {
            merge_first(sum, 2, self.time)
        } else {
            sum
        }
    }
}

/// Unfolds channels into frames, rows and columns, outermost first: `[b, s s p c, t, h, w]` to
/// `[b, c, p t, s h, s w]` with `p` frames and sides times `s`.
fn unfold(x: Tensor<5>, s: usize, p: usize) -> Tensor<5> {
    let [b, wide, t, h, w] = x.dims();
    let c = wide / (s * s * p);
    x.reshape([b, p, s, s, c, t, h, w])
        .permute([0, 4, 5, 1, 6, 2, 7, 3])
        .reshape([b, c, t * p, s * h, s * w])
}

/// Replaces the first `time` frames, which are on an axis, by their mean.
pub(super) fn merge_first<const D: usize>(x: Tensor<D>, axis: usize, time: usize) -> Tensor<D> {
    let t = x.dims()[axis];
    if time == 1 {
        return x;
    }
    let one = x.clone().slice_dim(axis, 0..time).mean_dim(axis);
    if t == time {
        return one;
    }
    Tensor::cat(vec![one, x.slice_dim(axis, time..t)], axis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;

    fn counted(shape: [usize; 5]) -> Tensor<5> {
        let n = shape.iter().product::<usize>() as i64;
        Tensor::<1, Int>::arange(0..n, &Device::flex())
            .float()
            .reshape(shape)
    }

    fn values(x: Tensor<5>) -> Vec<f32> {
        x.into_data().iter().collect()
    }

    #[test]
    fn folding_puts_rows_and_columns_outside() {
        let y = fold(counted([1, 2, 1, 2, 2]));
        assert_eq!(y.dims(), [1, 8, 1, 1, 1]);
        assert_eq!(values(y), [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
    }

    #[test]
    fn unfolding_undoes_it_and_puts_frames_outside() {
        let x = counted([1, 2, 3, 4, 2]);
        assert_eq!(values(unfold(fold(x.clone()), 2, 1)), values(x));
        let y = unfold(counted([1, 8, 1, 1, 1]), 2, 2);
        assert_eq!(y.dims(), [1, 1, 2, 2, 2]);
        assert_eq!(values(y), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let y = unfold(counted([1, 2, 2, 1, 1]), 1, 2);
        assert_eq!(values(y), [0.0, 2.0, 1.0, 3.0]);
    }

    #[test]
    fn the_first_frame_of_a_clip_stays_single() {
        let x = counted([1, 1, 5, 1, 1]);
        assert_eq!(values(average_frames(x.clone(), 2, true)), [0.0, 1.5, 3.5]);
        let even = x.clone().slice_dim(2, 1..5);
        assert_eq!(values(average_frames(even.clone(), 2, false)), [1.5, 3.5]);
        assert_eq!(values(merge_first(even.clone(), 2, 2)), [1.5, 3.0, 4.0]);
        assert_eq!(values(merge_first(even.slice_dim(2, 0..2), 2, 2)), [1.5]);
        assert_eq!(values(average_frames(x, 1, true)).len(), 5);
    }
}
