//! What a generator yields after each scale.

use burn::tensor::Tensor;

/// One finished scale of an image, or one finished pass of a video.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// The running feature map at full size, `[1, c, t, h, w]`.
    pub features: Tensor<5>,
}
