//! Cross entropy of the codes.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use nextscale_var_core::matmul::Precision;

use super::model::Raster;

/// The loss of a batch and what it is made of.
#[derive(Debug, Clone)]
pub struct RasterLoss {
    /// Mean cross entropy of all codes in nats, `[1]`.
    pub loss: Tensor<1>,
    /// Share of the codes that have the largest logit, `[1]`.
    pub right: Tensor<1>,
}

/// Cross entropy of codes, `[b, n]`, of images with these labels.
///
/// # Panics
/// As [`Raster::forward`].
pub fn loss(
    model: &Raster,
    codes: Tensor<2, Int>,
    labels: &[usize],
    precision: Precision,
) -> RasterLoss {
    let [b, n] = codes.dims();
    let logits = model.forward(codes.clone(), labels, precision);
    let plain = if logits.is_autodiff() {
        logits.clone().inner()
    } else {
        logits.clone()
    };
    let hits = plain.argmax(2).reshape([b, n]).equal(codes.clone());
    let picked = log_softmax(logits, 2).gather(2, codes.unsqueeze_dim(2));
    RasterLoss {
        loss: picked.mean().neg(),
        right: hits.float().mean(),
    }
}
