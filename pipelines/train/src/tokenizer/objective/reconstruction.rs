//! What a tokenizer hands over.

use burn::module::Param;
use burn::tensor::Tensor;

use crate::tokenizer::adversarial::gradient_of;
use crate::tokenizer::reconstruction::ReconstructionError;

/// A batch and what the auto-encoder made of it, on an autodiff device.
pub(crate) struct Reconstruction<'a> {
    /// The number of the batch in the run.
    pub number: u64,
    /// The images, or all frames of the clips: `[n, 3, h, w]`.
    pub target: Tensor<4>,
    /// Their reconstructions, `[n, 3, h, w]`.
    pub images: Tensor<4>,
    /// Frames of a clip; 1 for images.
    pub frames: usize,
    /// The loss of the pixels, given the difference of reconstructions and images.
    pub error: &'a dyn Fn(Tensor<4>) -> ReconstructionError,
    /// The norm of the gradient of the decoder's last convolution, `[1]`, given that of the reconstructions without autodiff.
    pub last_layer: &'a dyn Fn(Tensor<4>) -> Tensor<1>,
    /// The rest of the loss with its weights, `[1]` each.
    pub terms: Vec<Tensor<1>>,
    /// What to log of it.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    /// Images or clips.
    pub examples: usize,
}

/// The norm of the gradient of `weight`, `[1]`, if `images` `[n, 3, h, w]` are computed from it and their gradient is `gradient`,
/// without autodiff.
pub(crate) fn gradient_norm<const D: usize>(
    images: Tensor<4>,
    gradient: Tensor<4>,
    weight: &Param<Tensor<D>>,
) -> Tensor<1> {
    let gradients = (images * Tensor::from_inner(gradient)).sum().backward();
    let gradient = gradient_of(&weight.val(), &gradients);
    gradient.square().sum().sqrt()
}
