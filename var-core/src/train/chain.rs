//! Gradient checkpointing by block (arXiv 1604.06174): the memory of one block's activations instead of all.
//!
//! The chain runs once without recording anything but the input of every block. From the last block to the first, each then runs
//! again with recording, and its part of the backward pass follows at once.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};

use super::task::Loss;

/// What a block, or the end of a chain, reads.
#[derive(Debug, Clone)]
pub struct Activations {
    /// The output of what comes before it, `[b, l, C]`.
    pub x: Tensor<3>,
    /// What all blocks and the end of the chain read, too.
    pub shared: Vec<Tensor<3>>,
}

/// A model as a chain of blocks.
pub trait Chain {
    /// Everything that is trained, as one module.
    type Model: Module;

    /// Number of blocks.
    fn depth(&self, model: &Self::Model) -> usize;

    /// What comes before the blocks, recorded.
    fn start(&self, model: &Self::Model) -> Activations;

    /// The output of block `i`. `recorded` tells whether `x` and `shared` have gradients: if not, nothing may be recorded.
    fn block(
        &self,
        model: &Self::Model,
        i: usize,
        x: Tensor<3>,
        shared: &[Tensor<3>],
        recorded: bool,
    ) -> Tensor<3>;

    /// The loss of the output of the last block, recorded.
    fn end(&self, model: &Self::Model, x: Tensor<3>, shared: &[Tensor<3>]) -> Loss;

    /// Whether anything before the blocks is trained.
    fn trains_start(&self) -> bool;

    /// The output of the last block and what the end reads, too. `recorded` is as for [`block`](Self::block).
    fn forward(&self, model: &Self::Model, recorded: bool) -> Activations {
        let Activations { mut x, shared } = self.start(model);
        for i in 0..self.depth(model) {
            x = self.block(model, i, x, &shared, recorded);
        }
        Activations { x, shared }
    }
}

/// The loss of a chain, without autodiff, and the gradients of what is trained, block by block. The same as those of the whole
/// chain recorded at once, but for rounding.
pub fn gradients_by_block<C: Chain>(chain: &C, model: &C::Model) -> (Loss, GradientsParams) {
    let mut sum = GradientsParams::new();
    let loss = gradients_as_ready(chain, model, &mut |part| {
        add_gradients(model, part, &mut sum);
    });
    (loss, sum)
}

/// As [`gradients_by_block`], but hands the gradients of each block over as soon as they are computed. A parameter that several parts
/// of the chain read is in as many of them.
pub fn gradients_as_ready<C: Chain>(
    chain: &C,
    model: &C::Model,
    ready: &mut dyn FnMut(GradientsParams),
) -> Loss {
    let start = chain.start(model);
    let shared: Vec<Tensor<3>> = start.shared.iter().cloned().map(inner).collect();
    let mut inputs = vec![inner(start.x.clone())];
    for i in 0..chain.depth(model) {
        let x = inputs[i].clone();
        inputs.push(chain.block(model, i, x, &shared, false));
    }
    let leaves = || shared.iter().cloned().map(leaf).collect::<Vec<_>>();

    let x = leaf(inputs.pop().expect("the output of the last block"));
    let mut own = leaves();
    let loss = chain.end(model, x.clone(), &own);
    let mut grads = loss.total.backward();
    let mut add = |grads: &mut Gradients| ready(GradientsParams::from_module(grads, model));
    let mut gradient = x.grad_remove(&mut grads);
    let mut of_shared: Vec<Option<Tensor<3>>> = take(&own, &mut grads);
    add(&mut grads);

    for i in (0..chain.depth(model)).rev() {
        let Some(from_above) = gradient else { break };
        let input = inputs.pop().expect("the input of every block");
        let wanted = i > 0 || chain.trains_start();
        let x = if wanted {
            leaf(input)
        } else {
            Tensor::from_inner(input)
        };
        own = leaves();
        let y = chain.block(model, i, x.clone(), &own, true);
        let mut grads = (y * Tensor::from_inner(from_above)).sum().backward();
        gradient = x.grad_remove(&mut grads);
        for (sum, more) in of_shared.iter_mut().zip(take(&own, &mut grads)) {
            *sum = match (sum.take(), more) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        add(&mut grads);
    }

    if chain.trains_start() {
        let outputs = [start.x].into_iter().chain(start.shared);
        let gradients = [gradient].into_iter().chain(of_shared);
        let parts = outputs
            .zip(gradients)
            .filter_map(|(output, gradient)| Some((output * Tensor::from_inner(gradient?)).sum()));
        if let Some(sum) = parts.reduce(|a, b| a + b) {
            add(&mut sum.backward());
        }
    }
    loss.detached()
}

fn inner(x: Tensor<3>) -> Tensor<3> {
    if x.is_autodiff() { x.inner() } else { x }
}

/// `x` as the beginning of a recording.
fn leaf(x: Tensor<3>) -> Tensor<3> {
    Tensor::from_inner(x).require_grad()
}

fn take(leaves: &[Tensor<3>], grads: &mut Gradients) -> Vec<Option<Tensor<3>>> {
    leaves.iter().map(|leaf| leaf.grad_remove(grads)).collect()
}

/// Adds the gradients `from` of the parameters of `module` to those in `to`.
pub fn add_gradients<M: Module>(module: &M, from: GradientsParams, to: &mut GradientsParams) {
    module.visit(&mut Add { from, to });
}

struct Add<'a> {
    from: GradientsParams,
    to: &'a mut GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(more) = self.from.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.to.remove::<D>(param.id) {
            Some(sum) => sum + more,
            None => more,
        };
        self.to.register(param.id, sum);
    }
}
