//! The blocks that both towers of CLIP share.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, softmax};

/// Channels of each head of attention, in all models of CLIP.
pub(super) const HEAD: usize = 64;
const EPSILON: f64 = 1e-5;
/// The factor of CLIP's approximation of GELU.
const QUICK: f64 = 1.702;

/// A layer norm over the last axis.
#[derive(Debug)]
pub(super) struct Norm {
    pub weight: Tensor<1>,
    pub bias: Tensor<1>,
}

impl Norm {
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let centred = x.clone() - x.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        let normal = centred / (variance + EPSILON).sqrt();
        normal * self.weight.clone().unsqueeze() + self.bias.clone().unsqueeze()
    }
}

/// A linear layer.
#[derive(Debug)]
pub(super) struct Linear {
    /// `[in, out]`.
    pub weight: Tensor<2>,
    /// `[out]`.
    pub bias: Tensor<1>,
}

impl Linear {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let [_, out] = self.weight.dims();
        let rows = x.reshape([b * l, c]).matmul(self.weight.clone());
        (rows + self.bias.clone().unsqueeze()).reshape([b, l, out])
    }
}

/// A block: attention, then a layer of four times the width.
#[derive(Debug)]
pub(super) struct Block {
    pub norm_1: Norm,
    /// Queries, keys and values, one after the other.
    pub qkv: Linear,
    pub out: Linear,
    pub norm_2: Norm,
    pub up: Linear,
    pub down: Linear,
}

impl Block {
    /// `x` is `[b, l, c]`; `mask`, `[1, 1, l, l]`, is added to the logits of the attention.
    pub(super) fn forward(&self, x: Tensor<3>, mask: Option<&Tensor<4>>) -> Tensor<3> {
        let x = x.clone() + self.attention(self.norm_1.forward(x), mask);
        let hidden = self.up.forward(self.norm_2.forward(x.clone()));
        let hidden = hidden.clone() * sigmoid(hidden * QUICK);
        x + self.down.forward(hidden)
    }

    fn attention(&self, x: Tensor<3>, mask: Option<&Tensor<4>>) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let qkv = self.qkv.forward(x);
        let part = |at: usize| {
            let part = qkv.clone().narrow(2, at * c, c);
            part.reshape([b, l, c / HEAD, HEAD]).swap_dims(1, 2)
        };
        let (q, k, v) = (part(0), part(1), part(2));
        let scale = (HEAD as f64).powf(-0.5);
        let mut logits = (q * scale).matmul(k.swap_dims(2, 3));
        if let Some(mask) = mask {
            logits = logits + mask.clone();
        }
        let mixed = softmax(logits, 3).matmul(v);
        self.out.forward(mixed.swap_dims(1, 2).reshape([b, l, c]))
    }
}
