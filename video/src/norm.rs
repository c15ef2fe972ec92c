//! The norms of the video tokenizer: every position by itself, over its channels.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor, activation::silu},
};

use crate::conv3d::CausalConv;

/// Brings the channels of every position to length `sqrt(c)`, then scales each: `sqrt(c) x / max(|x|, 1e-12) * gamma`.
///
/// `RMS_norm` of `infinity/models/videovae/modules/normalization_wan.py`.
#[derive(Module, Debug)]
pub struct ChannelNorm {
    /// `[c, 1, 1, 1]`.
    pub gamma: Param<Tensor<4>>,
}

impl ChannelNorm {
    /// All scales 1.
    pub fn init(channels: usize, device: &Device) -> Self {
        Self {
            gamma: Initializer::Ones.init([channels, 1, 1, 1], device),
        }
    }

    /// `[b, c, t, h, w]`, the shape stays.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [_, c, _, _, _] = x.dims();
        let length = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        let scale = length.recip() * (c as f64).sqrt();
        x * scale * self.gamma.val().unsqueeze::<5>()
    }

    /// [`ChannelNorm::forward`] and SiLU after it.
    pub fn forward_silu(&self, x: Tensor<5>) -> Tensor<5> {
        silu(self.forward(x))
    }
}

/// A [`ChannelNorm`] that the latent scales and shifts, both read off it by a 1 x 1 x 1 convolution (the idea of
/// arXiv:2209.09002; `CogVideoXSpatialNorm3D` of `infinity/models/videovae/models/wan_bsq_vae.py`).
#[derive(Module, Debug)]
pub struct LatentNorm {
    /// The norm itself.
    pub norm: ChannelNorm,
    /// Latent to scale.
    pub conv_y: CausalConv,
    /// Latent to shift.
    pub conv_b: CausalConv,
}

impl LatentNorm {
    /// For `channels` channels and a latent of `latent` channels. A fresh norm scales by about 1, whatever the latent.
    pub fn init(channels: usize, latent: usize, device: &Device) -> Self {
        let mut conv_y = CausalConv::init(latent, channels, 1, device);
        conv_y.bias = Initializer::Ones.init([channels], device);
        Self {
            norm: ChannelNorm::init(channels, device),
            conv_y,
            conv_b: CausalConv::init(latent, channels, 1, device),
        }
    }

    /// Norm and SiLU. `x` is `[b, c, t, h, w]`; `z`, `[b, z, t', h', w']`, is the chunk's latent, whose sides divide
    /// those of `x`. In the `first` chunk of a clip the first frame of `z` stands for one frame of `x`.
    ///
    /// The convolutions run before the latent is enlarged: its cells are repeated, so the numbers are the same.
    pub fn forward_silu(&self, x: Tensor<5>, z: &Tensor<5>, first: bool) -> Tensor<5> {
        let [_, _, t, h, w] = x.dims();
        let scale = self.conv_y.forward_pointwise(z.clone());
        let shift = self.conv_b.forward_pointwise(z.clone());
        let [scale, shift] = [scale, shift].map(|z| enlarge(z, [t, h, w], first));
        silu(self.norm.forward(x) * scale + shift)
    }
}

/// Repeats the cells of `z` until it has `to` frames, rows and columns; the first frame of a `first` chunk stays single.
fn enlarge(z: Tensor<5>, to: [usize; 3], first: bool) -> Tensor<5> {
    let [b, c, t, h, w] = z.dims();
    let [frames, rows, columns] = to;
    let lone = usize::from(first && t > 0);
    let per_frame = match t - lone {
        0 => 1,
        rest => (frames - lone) / rest,
    };
    assert_eq!(
        [lone + (t - lone) * per_frame, rows % h, columns % w],
        [frames, 0, 0],
        "a latent of {t}x{h}x{w} does not fill {frames}x{rows}x{columns}"
    );
    let z = match (per_frame, t - lone) {
        (1, _) => z,
        (_, rest) => {
            let tail = z.clone().slice_dim(2, lone..t);
            let tail = tail
                .reshape([b, c, rest, 1, h * w])
                .expand([b, c, rest, per_frame, h * w])
                .reshape([b, c, rest * per_frame, h, w]);
            match lone {
                0 => tail,
                _ => Tensor::cat(vec![z.slice_dim(2, 0..lone), tail], 2),
            }
        }
    };
    if (h, w) == (rows, columns) {
        return z;
    }
    let (up, right) = (rows / h, columns / w);
    z.reshape([b * c * frames, h, 1, w, 1])
        .expand([b * c * frames, h, up, w, right])
        .reshape([b, c, frames, rows, columns])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(x: Tensor<5>) -> Vec<f32> {
        x.into_data().iter().collect()
    }

    #[test]
    fn positions_are_normalised_alone() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([3.0, 0.0, 4.0, 0.0], &device).reshape([1, 2, 2, 1, 1]);
        let y = ChannelNorm::init(2, &device).forward(x);
        let root = 2f32.sqrt();
        let expected = [0.6 * root, 0.0, 0.8 * root, 0.0];
        for (ours, expected) in values(y).iter().zip(expected) {
            assert!((ours - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn the_first_frame_stays_single() {
        let device = Device::flex();
        let z = Tensor::<1>::from_floats([1.0, 2.0], &device).reshape([1, 1, 2, 1, 1]);
        let once = values(enlarge(z.clone(), [3, 1, 1], true));
        assert_eq!(once, [1.0, 2.0, 2.0]);
        let all = values(enlarge(z.clone(), [4, 1, 1], false));
        assert_eq!(all, [1.0, 1.0, 2.0, 2.0]);
        let wide = values(enlarge(z.slice_dim(2, 0..1), [1, 2, 1], true));
        assert_eq!(wide, [1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "does not fill")]
    fn sides_must_divide() {
        let z = Tensor::<5>::ones([1, 1, 1, 2, 2], &Device::flex());
        enlarge(z, [1, 5, 4], true);
    }
}
