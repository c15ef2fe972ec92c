//! Several batches of one step, each on its own thread.
//!
//! On a CPU most operations between the matrix products run on one core. Two halves of a batch in parallel keep two cores
//! busy. Their gradients are averaged, so that a step is that of the whole batch.

use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::thread;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::task::{Loss, Task};

/// The loss of `batches` and its gradients: means over the batches, which must have the same size.
///
/// # Panics
/// If there is no batch, or a task panics.
pub(super) fn gradients<T: Task>(
    task: &T,
    model: &T::Model,
    batches: Vec<T::Batch>,
) -> (Loss, GradientsParams) {
    if batches.len() == 1 {
        let batch = batches.into_iter().next().expect("one batch");
        return one::<T>(task, model, batch);
    }
    let parts = thread::scope(|scope| {
        let start = |batch| {
            // A copy with the same parameter ids: the autodiff graphs of two threads must not be connected.
            let copy = model.valid().train();
            scope.spawn(move || one::<T>(task, &copy, batch))
        };
        let threads: Vec<_> = batches.into_iter().map(start).collect();
        let joined = threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| resume_unwind(panic)));
        joined.collect::<Vec<_>>()
    });
    let (losses, gradients): (Vec<Loss>, Vec<GradientsParams>) = parts.into_iter().unzip();
    let mut mean = Mean {
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

/// The loss, without autodiff, and the gradients of one batch.
fn one<T: Task>(task: &T, model: &T::Model, batch: T::Batch) -> (Loss, GradientsParams) {
    let Loss {
        total,
        parts,
        examples,
    } = task.loss(model, batch);
    let gradients = GradientsParams::from_grads(total.backward(), model);
    let plain = |value: Tensor<1>| {
        if value.is_autodiff() {
            value.inner()
        } else {
            value
        }
    };
    let loss = Loss {
        total: plain(total),
        parts: parts
            .into_iter()
            .map(|(name, v)| (name, plain(v)))
            .collect(),
        examples,
    };
    (loss, gradients)
}

struct Mean<M> {
    from: Vec<GradientsParams>,
    to: GradientsParams,
    model: PhantomData<M>,
}

impl<M> ModuleVisitor for Mean<M> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let count = self.from.len() as f32;
        let parts = self.from.iter_mut().filter_map(|g| g.remove::<D>(param.id));
        if let Some(sum) = parts.reduce(|a, b| a + b) {
            self.to.register(param.id, sum.div_scalar(count));
        }
    }
}
