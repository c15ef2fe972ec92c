//! The residual block.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::conv2d::Conv;
use super::group_norm::GroupNorm;

/// Two rounds of norm, SiLU and 3 x 3 convolution, added to the input, or to its 1 x 1 projection if the channels change.
#[derive(Module, Debug)]
pub struct ResBlock {
    /// Before the first convolution.
    pub norm1: GroupNorm,
    /// c to c'.
    pub conv1: Conv,
    /// Before the second convolution.
    pub norm2: GroupNorm,
    /// c' to c'.
    pub conv2: Conv,
    /// c to c', 1 x 1; none if they are equal.
    pub nin_shortcut: Option<Conv>,
}

impl ResBlock {
    /// From `from` to `to` channels; `groups` gives the number of norm groups for a number of channels.
    pub fn init(from: usize, to: usize, groups: impl Fn(usize) -> usize, device: &Device) -> Self {
        Self {
            norm1: GroupNorm::init(from, groups(from), device),
            conv1: Conv::init(from, to, 3, device),
            norm2: GroupNorm::init(to, groups(to), device),
            conv2: Conv::init(to, to, 3, device),
            nin_shortcut: (from != to).then(|| Conv::init(from, to, 1, device)),
        }
    }

    /// `[b, c, h, w]` to `[b, c', h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        let y = self.conv2.forward(self.norm2.forward_silu(y));
        let x = match &self.nin_shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        x + y
    }
}
