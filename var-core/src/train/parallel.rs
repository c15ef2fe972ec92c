//! Several batches of one step, each on its own thread.
//!
//! On a CPU most operations between the matrix products run on one core. Two halves of a batch in parallel keep two cores
//! busy. Their gradients are averaged, so that a step is that of the whole batch.

use std::marker::PhantomData;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::passes::{scaled, scaled_sum};
use super::task::{Loss, Task};
use super::workers::Workers;

/// The loss of `batches` and its gradients: means over the batches, which must have the same size. As many as there are `workers` are
/// computed in parallel, the rest after them, so that the memory is that of so many batches.
///
/// # Panics
/// If there is no batch, or a task panics.
pub(super) fn gradients<T: Task>(
    task: &T,
    model: &T::Model,
    batches: Vec<T::Batch>,
    workers: &Workers,
) -> (Loss, GradientsParams) {
    let at_once = workers.count();
    let rounds = batches.len().div_ceil(at_once);
    let mut batches = batches.into_iter();
    let mut next = || batches.by_ref().take(at_once).collect();
    let first = round(task, model, next(), workers);
    if rounds == 1 {
        return first;
    }
    let (mut losses, mut sum) = (vec![first.0], first.1);
    for _ in 1..rounds {
        let (loss, more) = round(task, model, next(), workers);
        losses.push(loss);
        sum = added(model, [sum, more], 1.0);
    }
    let mean = added(model, [sum, GradientsParams::new()], 1.0 / rounds as f32);
    (mean_loss(losses), mean)
}

/// The sum of two sets of gradients, times `factor`.
fn added<M: Module>(model: &M, both: [GradientsParams; 2], factor: f32) -> GradientsParams {
    let mut sum = Sum {
        from: both.into(),
        to: GradientsParams::new(),
        factor,
        model: PhantomData::<M>,
    };
    model.visit(&mut sum);
    sum.to
}

/// The mean loss of batches in parallel, and its gradients.
fn round<T: Task>(
    task: &T,
    model: &T::Model,
    mut batches: Vec<T::Batch>,
    workers: &Workers,
) -> (Loss, GradientsParams) {
    if batches.len() == 1 {
        return task.gradients(model, batches.remove(0));
    }
    // Copies with the same parameter ids: the autodiff graphs of two threads must not be connected.
    let copies = batches
        .into_iter()
        .map(|batch| (model.valid().train(), batch));
    let parts = workers.all(copies.collect(), |(copy, batch)| {
        task.gradients(&copy, batch)
    });
    let (losses, gradients): (Vec<Loss>, Vec<GradientsParams>) = parts.into_iter().unzip();
    let mut mean = Sum {
        factor: 1.0 / gradients.len() as f32,
        from: gradients,
        to: GradientsParams::new(),
        model: PhantomData::<T::Model>,
    };
    model.visit(&mut mean);
    (mean_loss(losses), mean.to)
}

/// The means of losses and parts, and all examples.
fn mean_loss(losses: Vec<Loss>) -> Loss {
    let count = losses.len() as f64;
    let sum = losses.into_iter().reduce(|a, b| Loss {
        total: a.total + b.total,
        parts: a
            .parts
            .into_iter()
            .zip(b.parts)
            .map(|((name, a), (_, b))| (name, a + b))
            .collect(),
        examples: a.examples + b.examples,
    });
    let sum = sum.expect("at least one batch");
    let parts = sum.parts.into_iter();
    Loss {
        total: sum.total / count,
        parts: parts.map(|(name, value)| (name, value / count)).collect(),
        examples: sum.examples,
    }
}

/// Adds gradients and multiplies them.
struct Sum<M> {
    from: Vec<GradientsParams>,
    to: GradientsParams,
    factor: f32,
    model: PhantomData<M>,
}

impl<M> ModuleVisitor for Sum<M> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let parts = self.from.iter_mut().filter_map(|g| g.remove::<D>(param.id));
        let mut parts: Vec<Tensor<D>> = parts.collect();
        // The last sum is multiplied in the same pass.
        let sum = match parts.pop() {
            None => return,
            Some(last) if parts.is_empty() => scaled(last, self.factor),
            Some(last) => {
                let rest = parts.into_iter().reduce(|a, b| scaled_sum(a, &b, 1.0));
                scaled_sum(rest.expect("at least one"), &last, self.factor)
            }
        };
        self.to.register(param.id, sum);
    }
}
