//! The norms of the video tokenizer: over the channels of each position.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor, activation::silu},
};

use crate::conv3d::CausalConv;

/// RMS norm over the channels of each position with learned scales: `sqrt(c) x / max(|x|, 1e-12) * gamma`.
///
/// `RMS_norm` of `infinity/models/videovae/modules/normalization_wan.py`.
#[derive(Module, Debug)]
pub struct ChannelNorm {
    /// `[c, 1, 1, 1]`.
    pub gamma: Param<Tensor<4>>,
}

impl ChannelNorm {
    /// With all scales 1.
    pub fn init(channels: usize, device: &Device) -> Self {
        Self {
            gamma: Initializer::Ones.init([channels, 1, 1, 1], device),
        }
    }

    /// `[b, c, t, h, w]` to the same shape.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [_, c, _, _, _] = x.dims();
        let length = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        let scale = length.recip() * (c as f64).sqrt();
        x * scale * self.gamma.val().unsqueeze::<5>()
    }

    /// [`ChannelNorm::forward`] followed by SiLU.
    pub fn forward_silu(&self, x: Tensor<5>) -> Tensor<5> {
        silu(self.forward(x))
    }
}

/// A [`ChannelNorm`] with scale and shift computed from the latent by 1 x 1 x 1 convolutions (as in arXiv:2209.09002; `CogVideoXSpatialNorm3D` of `infinity/models/videovae/models/wan_bsq_vae.py`).
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
    /// For `channels` channels and a latent of `latent` channels. The initial scale is about 1 for any latent.
    pub fn init(channels: usize, latent: usize, device: &Device) -> Self {
        let mut conv_y = CausalConv::init(latent, channels, 1, device);
        conv_y.bias = Initializer::Ones.init([channels], device);
        Self {
            norm: ChannelNorm::init(channels, device),
            conv_y,
            conv_b: CausalConv::init(latent, channels, 1, device),
        }
    }

    /// Norm and SiLU. `x` is `[b, c, t, h, w]`; `z`, `[b, z, t', h', w']`, is the latent of the chunk, whose sides divide
    /// those of `x`. In the `first` chunk of a clip, the first frame of `z` corresponds to a single frame of `x`.
    ///
    /// The convolutions run before nearest-neighbour upsampling, which gives the same result for less work.
    pub fn forward_silu(&self, x: Tensor<5>, z: &Tensor<5>, first: bool) -> Tensor<5> {
        let [_, _, t, h, w] = x.dims();
        let scale = self.conv_y.forward_pointwise(z.clone());
        let shift = self.conv_b.forward_pointwise(z.clone());
        let [scale, shift] = [scale, shift].map(|z| upsample(z, [t, h, w], first));
        silu(self.norm.forward(x) * scale + shift)
    }
}

/// Repeats the cells of `z` to `to` frames, rows and columns. The first frame of a `first` chunk is not repeated.
fn upsample(z: Tensor<5>, to: [usize; 3], first: bool) -> Tensor<5> {
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
        let once = values(upsample(z.clone(), [3, 1, 1], true));
        assert_eq!(once, [1.0, 2.0, 2.0]);
        let all = values(upsample(z.clone(), [4, 1, 1], false));
        assert_eq!(all, [1.0, 1.0, 2.0, 2.0]);
        let wide = values(upsample(z.slice_dim(2, 0..1), [1, 2, 1], true));
        assert_eq!(wide, [1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "does not fill")]
    fn sides_must_divide() {
        let z = Tensor::<5>::ones([1, 1, 1, 2, 2], &Device::flex());
        upsample(z, [1, 5, 4], true);
    }
}
