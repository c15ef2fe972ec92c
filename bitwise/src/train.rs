//! The training loss: the cross entropy of each bit.

use std::cell::OnceCell;

use burn::tensor::{Int, Tensor, activation::log_sigmoid};
use nextscale_var_core::blocks::Transformer;
use nextscale_var_core::train::{Activations, Chain, DropPath, Loss, Trained};

use crate::infinity::{Infinity, Plan, TextCondition, TextState, teacher_block, teacher_end};
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
    let text = model.encode_text(text);
    let (source, inputs) = (batch.source.clone(), batch.inputs.clone());
    let x = model.forward_hidden(source, inputs, &text, plan);
    let margins = model.margins(x, text.cond);
    BitLoss::new(margins, batch.bits.clone(), weights)
}

impl BitLoss {
    /// Of margins and bits, `[b, l, D]`, with the weights of the tokens, `[1, l]`.
    pub fn new(margins: Tensor<3>, bits: Tensor<3, Int>, weights: &Tensor<2>) -> Self {
        let right = right_per_token(margins.clone(), bits.clone());
        Self::of_tokens(loss_per_token(margins, bits), right, weights)
    }

    /// Of the cross entropy and the fraction of correct bits of each token, `[b, l]`, with the weights of the tokens, `[1, l]`.
    pub fn of_tokens(per_token: Tensor<2>, right: Tensor<2>, weights: &Tensor<2>) -> Self {
        let [b, _] = per_token.dims();
        Self {
            loss: (per_token.clone() * weights.clone()).sum() / b as f64,
            per_token: per_token.detach(),
            right,
        }
    }
}

/// A batch as a chain of blocks, whose gradients are computed block by block.
pub struct InfinityChain<'a, V> {
    /// The weights.
    pub weights: &'a V,
    /// The images.
    pub batch: &'a TeacherForcing,
    /// The prompts.
    pub text: &'a TextCondition,
    /// Which prompts are replaced by the unconditional one.
    pub drop: &'a [bool],
    /// As for [`loss`].
    pub plan: &'a Plan,
    /// As for [`loss`].
    pub token_weights: &'a Tensor<2>,
    /// Layers that samples skip.
    pub drop_path: Option<DropPath>,
    /// Filled by the end of the chain: how well the bits of each token were predicted, `[b, l]`.
    pub right: OnceCell<Tensor<2>>,
}

impl<V: Trained<Infinity>> InfinityChain<'_, V> {
    /// The loss without autodiff, for weights that have none.
    pub fn loss(&self, model: &V::Model) -> BitLoss {
        let Activations { x, shared } = self.forward(model, false);
        self.bit_loss(model, x, &shared)
    }

    fn state(&self, model: &V::Model) -> TextState {
        let top = self.weights.top(model);
        top.encode_text(&top.drop_condition(self.text, self.drop))
    }

    fn bit_loss(&self, model: &V::Model, x: Tensor<3>, shared: &[Tensor<3>]) -> BitLoss {
        let x = teacher_end(x, self.plan);
        let [b, _, c] = shared[2].dims();
        let cond = shared[2].clone().reshape([b, c]);
        let margins = self.weights.top(model).margins(x, cond);
        BitLoss::new(margins, self.batch.bits.clone(), self.token_weights)
    }
}

impl<V: Trained<Infinity>> Chain for InfinityChain<'_, V> {
    type Model = V::Model;

    fn depth(&self, model: &V::Model) -> usize {
        self.weights.top(model).depth()
    }

    fn start(&self, model: &V::Model) -> Activations {
        let text = self.state(model);
        let (source, inputs) = (self.batch.source.clone(), self.batch.inputs.clone());
        let top = self.weights.top(model);
        Activations {
            x: top.teacher_start(source, inputs, &text, self.plan),
            shared: text.parts(),
        }
    }

    fn block(
        &self,
        model: &V::Model,
        i: usize,
        x: Tensor<3>,
        shared: &[Tensor<3>],
        recorded: bool,
    ) -> Tensor<3> {
        let block = self.weights.block(model, i, recorded);
        let text = TextState::of_parts(shared, self.text);
        let kept = self.drop_path.as_ref();
        let kept = kept.map(|kept| kept.of(i, &self.token_weights.device()));
        teacher_block(&block, (i, kept), x, &text, self.plan)
    }

    fn end(&self, model: &V::Model, x: Tensor<3>, shared: &[Tensor<3>]) -> Loss {
        let BitLoss { loss, right, .. } = self.bit_loss(model, x, shared);
        let mean = right.clone().mean();
        self.right.get_or_init(|| right);
        Loss {
            total: loss,
            parts: vec![("right", mean)],
            examples: self.drop.len(),
        }
    }

    fn trains_start(&self) -> bool {
        self.weights.trains_top()
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
