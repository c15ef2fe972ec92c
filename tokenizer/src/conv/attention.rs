//! Attention among the cells of an image, with one head as wide as the channels.

use burn::{
    module::Module,
    tensor::{Device, Tensor, activation::softmax},
};

use super::conv2d::Conv;
use super::group_norm::GroupNorm;

/// Norm, queries, keys and values by a 1 x 1 convolution, attention among all cells, projection, added to the input
/// (`AttnBlock` of VAR's `basic_vae.py`).
#[derive(Module, Debug)]
pub struct SpatialAttention {
    /// On the input.
    pub norm: GroupNorm,
    /// c to 3 c: queries, keys, values.
    pub qkv: Conv,
    /// c to c.
    pub proj_out: Conv,
}

impl SpatialAttention {
    /// For `channels` channels; `groups` is the number of norm groups.
    pub fn init(channels: usize, groups: usize, device: &Device) -> Self {
        Self {
            norm: GroupNorm::init(channels, groups, device),
            qkv: Conv::init(channels, 3 * channels, 1, device),
            proj_out: Conv::init(channels, channels, 1, device),
        }
    }

    /// `[b, c, h, w]` to the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let qkv = self.qkv.forward(self.norm.forward(x.clone()));
        let qkv = qkv.reshape([b, 3, c, h * w]);
        let [q, k, v] = std::array::from_fn(|i| {
            let one = qkv.clone().slice_dim(1, i..i + 1);
            one.reshape([b, c, h * w])
        });
        let scores = q.swap_dims(1, 2).matmul(k) * (c as f64).powf(-0.5); // [b, hw, hw]
        let attended = v.matmul(softmax(scores, 2).swap_dims(1, 2)); // [b, c, hw]
        x + self.proj_out.forward(attended.reshape([b, c, h, w]))
    }
}
