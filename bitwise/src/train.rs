//! The training loss: the cross entropy of each bit.

use burn::tensor::{Int, Tensor, activation::log_sigmoid};

use crate::infinity::{Infinity, Plan, TextCondition};
use crate::tokens::TeacherForcing;

/// The cross entropy of each token, averaged over its bits: `[b, l]`.
///
/// `margins`, `[b, l, D]`, are the logits of a one minus the logits of a zero; `bits`, same shape, are the labels. The
/// cross entropy of two classes is `-log sigmoid(+-margin)`.
///
/// # Panics
/// If the shapes differ.
pub fn loss_per_token(margins: Tensor<3>, bits: Tensor<3, Int>) -> Tensor<2> {
    let [b, l, _] = margins.dims();
    assert_eq!(
        margins.dims(),
        bits.dims(),
        "the shapes of margins and bits differ"
    );
    let sign = bits.float() * 2.0 - 1.0;
    -log_sigmoid(margins * sign).mean_dim(2).reshape([b, l])
}

/// The margins of logits `[b, l, 2 D]`, one minus zero: `[b, l, D]`.
pub fn margins(logits: Tensor<3>) -> Tensor<3> {
    let [b, l, width] = logits.dims();
    let pairs = logits.reshape([b, l, width / 2, 2]);
    let class = |i: usize| {
        pairs
            .clone()
            .slice_dim(3, i..i + 1)
            .reshape([b, l, width / 2])
    };
    class(1) - class(0)
}

/// The fraction of correct bits of each token, `[b, l]`, detached, given margins and bits, `[b, l, d]`.
pub fn right_per_token(margins: Tensor<3>, bits: Tensor<3, Int>) -> Tensor<2> {
    let [b, l, d] = bits.dims();
    let guessed = margins.detach().greater_scalar(0.0).int();
    let right = guessed.equal(bits).float().sum_dim(2) / d as f64;
    right.reshape([b, l])
}

/// The loss of a batch and the accuracy of its bits.
#[derive(Debug, Clone)]
pub struct BitLoss {
    /// The weighted mean of the cross entropy, `[1]`, differentiable.
    pub loss: Tensor<1>,
    /// The cross entropy of each token, `[b, l]`, detached.
    pub per_token: Tensor<2>,
    /// The fraction of correct bits of each token, `[b, l]`, detached.
    pub right: Tensor<2>,
}

/// The loss of a batch under teacher forcing.
///
/// `weights`, `[1, l]`, come from [`ScaleWeighting::weights`](nextscale_var_core::train::ScaleWeighting::weights).
/// `plan` is made by [`Plan::teacher_forcing`], or by [`Plan::editing_teacher_forcing`] if the batch has sources. For condition dropout, pass `text` through [`Infinity::drop_condition`] first.
///
/// # Panics
/// If the shapes do not fit the plan.
pub fn loss(
    model: &Infinity,
    batch: &TeacherForcing,
    text: &TextCondition,
    plan: &Plan,
    weights: &Tensor<2>,
) -> BitLoss {
    let [b, ..] = batch.bits.dims();
    let text = model.encode_text(text);
    let inputs = batch.inputs.clone();
    let x = match &batch.source {
        Some(source) => model.forward_edit_hidden(source.clone(), inputs, &text, plan),
        None => model.forward_hidden(inputs, &text, plan),
    };
    let margins = model.margins(x, text.cond);
    let right = right_per_token(margins.clone(), batch.bits.clone());
    let per_token = loss_per_token(margins, batch.bits.clone());
    BitLoss {
        loss: (per_token.clone() * weights.clone()).sum() / b as f64,
        per_token: per_token.detach(),
        right,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn cross_entropy_of_known_logits() {
        let device = Device::flex();
        let logits = Tensor::<3>::from_floats([[[0.0, 2.0, 1.0, 1.0]]], &device);
        let bits = Tensor::<3, Int>::from_ints([[[0, 1]]], &device);
        let loss: f32 = loss_per_token(margins(logits), bits).into_scalar();
        let first = (1.0 + 2f32.exp()).ln(); // -log(e^0 / (e^0 + e^2))
        assert!((loss - (first + 2f32.ln()) / 2.0).abs() < 1e-6);
    }
}
