//! Training block by block.

use std::cell::OnceCell;

use burn::tensor::Tensor;

use super::loss::{CodeLoss, TeacherForcing};
use super::model::Var;
use super::plan::Plan;
use crate::blocks::Transformer;
use crate::train::{Activations, Chain, DropPath, Loss, Trained};

/// A batch as a chain of blocks, whose gradients are computed block by block.
pub struct VarChain<'a, V> {
    /// The weights.
    pub weights: &'a V,
    /// The images.
    pub batch: &'a TeacherForcing,
    /// A class for each image, or the unconditional one.
    pub labels: &'a [usize],
    /// As for [`loss`](super::loss).
    pub plan: &'a Plan,
    /// As for [`loss`](super::loss).
    pub token_weights: &'a Tensor<2>,
    /// As for [`loss`](super::loss).
    pub smoothing: f64,
    /// Layers that samples skip.
    pub drop_path: Option<DropPath>,
    /// Filled by the end of the chain: whether the code of each token was predicted, `[b, l]`.
    pub right: OnceCell<Tensor<2>>,
}

impl<V: Trained<Var>> VarChain<'_, V> {
    /// The loss without autodiff, for weights that have none.
    pub fn loss(&self, model: &V::Model) -> CodeLoss {
        let Activations { x, shared } = self.forward(model, false);
        self.code_loss(model, x, &shared)
    }

    fn code_loss(&self, model: &V::Model, x: Tensor<3>, shared: &[Tensor<3>]) -> CodeLoss {
        let logits = self.weights.top(model).logits(x, rows(&shared[0]));
        let targets = self.batch.targets.clone();
        CodeLoss::new(logits, targets, self.token_weights, self.smoothing)
    }
}

/// `[b, 1, C]` as `[b, C]`.
fn rows(x: &Tensor<3>) -> Tensor<2> {
    let [b, _, c] = x.dims();
    x.clone().reshape([b, c])
}

impl<V: Trained<Var>> Chain for VarChain<'_, V> {
    type Model = V::Model;

    fn depth(&self, model: &V::Model) -> usize {
        self.weights.top(model).depth()
    }

    /// Besides the tokens the classes, `[b, 1, C]`, and the modulation that all blocks share, `[b, 6, C]`, if they do.
    fn start(&self, model: &V::Model) -> Activations {
        let top = self.weights.top(model);
        let cond = top.embed_classes(self.labels);
        let mut shared = vec![cond.clone().unsqueeze_dim(1)];
        shared.extend(top.shared_modulation(&cond).map(|shared| {
            let [b, _, six, c] = shared.dims();
            shared.reshape([b, six, c])
        }));
        Activations {
            x: top.teacher_start(self.batch.inputs.clone(), &cond, self.plan),
            shared,
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
        let common = shared.get(1).map(|common| common.clone().unsqueeze_dim(1));
        let ada = block.modulate(&rows(&shared[0]), common.as_ref());
        let kept = self.drop_path.as_ref();
        let ada = ada.with_factors(kept.map(|kept| kept.of(i, &self.token_weights.device())));
        block.forward(x, &ada, self.plan.pass(), |_, k, v| (k, v))
    }

    fn end(&self, model: &V::Model, x: Tensor<3>, shared: &[Tensor<3>]) -> Loss {
        let CodeLoss { loss, right, .. } = self.code_loss(model, x, shared);
        let mean = right.clone().mean();
        self.right.get_or_init(|| right);
        Loss {
            total: loss,
            parts: vec![("right", mean)],
            examples: self.labels.len(),
        }
    }

    fn trains_start(&self) -> bool {
        self.weights.trains_top()
    }
}
