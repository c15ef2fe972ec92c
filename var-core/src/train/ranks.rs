//! One run on several processes, each with a part of every step's batches.
//!
//! A step is the same on any number of ranks: its batches are shared evenly, gradients are averaged over all of them, and every rank
//! makes the same update. What is not the same by itself (when to stop, how much of a budget in minutes is spent) the first rank says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

use super::checkpoint::TrainError;
use super::parallel;
use super::passes::scaled;
use super::task::{Loss, Task};
use super::workers::Workers;
use crate::collective::{Collective, CollectiveError};

/// Numbers that are summed at once: 25 MiB, as in PyTorch's `DistributedDataParallel`.
const BUCKET: usize = (25 << 20) / 4;

/// The processes of a run; one if there is no collective.
#[derive(Clone, Debug, Default)]
pub struct Ranks(Option<Arc<dyn Collective>>);

impl From<Arc<dyn Collective>> for Ranks {
    fn from(collective: Arc<dyn Collective>) -> Self {
        Self(Some(collective))
    }
}

/// What all ranks do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decision {
    /// Someone wants to stop.
    pub stop: bool,
    /// It is time for a checkpoint.
    pub save: bool,
    /// Seconds of training so far.
    pub seconds: f64,
}

impl Ranks {
    /// The number of this process.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |ranks| ranks.rank())
    }

    /// How many there are.
    pub fn world(&self) -> usize {
        self.0.as_ref().map_or(1, |ranks| ranks.world())
    }

    /// Whether this process writes logs and checkpoints.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn barrier(&self) -> Result<(), CollectiveError> {
        self.0.as_ref().map_or(Ok(()), |ranks| ranks.barrier())
    }

    /// The bytes of every rank.
    pub(super) fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let alone = || Ok(vec![own.to_vec()]);
        self.0
            .as_ref()
            .map_or_else(alone, |ranks| ranks.exchange(own))
    }

    /// Batches of a step of `batches` that each rank computes.
    ///
    /// # Errors
    /// If they cannot be shared evenly.
    pub fn share(&self, batches: usize) -> Result<usize, TrainError> {
        let world = self.world();
        if !batches.is_multiple_of(world) {
            return Err(TrainError::Share { batches, world });
        }
        Ok(batches / world)
    }

    /// Refuses ranks that are at different steps.
    pub(super) fn agree_on(&self, step: u64) -> Result<(), TrainError> {
        let all = self.exchange(&step.to_le_bytes())?;
        let step = |bytes: &Vec<u8>| bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let first = step(&all[0]);
        match all.iter().position(|bytes| step(bytes) != first) {
            Some(rank) => Err(TrainError::Step {
                rank,
                step: step(&all[rank]),
                first,
            }),
            None => Ok(()),
        }
    }

    /// The numbers of this rank's batches from `step` on, in steps of `batches` of which each rank has `share`.
    pub(super) fn numbers(
        &self,
        step: u64,
        batches: usize,
        share: usize,
    ) -> impl Iterator<Item = u64> + Send + 'static {
        let first = (self.rank() * share) as u64;
        let own = move |step| (0..share as u64).map(move |i| step * batches as u64 + first + i);
        (step..).flat_map(own)
    }

    /// The decision of all: anyone can stop the run, the first says the rest.
    pub(super) fn decide(&self, own: Decision) -> Result<Decision, CollectiveError> {
        let Some(ranks) = &self.0 else {
            return Ok(own);
        };
        let mut bytes = vec![u8::from(own.stop), u8::from(own.save)];
        bytes.extend(own.seconds.to_le_bytes());
        let all = ranks.exchange(&bytes)?;
        let seconds = |bytes: &[u8]| bytes.first_chunk().map_or(0.0, |b| f64::from_le_bytes(*b));
        Ok(Decision {
            stop: all.iter().any(|bytes| bytes[0] > 0),
            save: all[0][1] > 0,
            seconds: seconds(&all[0][2..]),
        })
    }

    /// `model` as it is on the first rank: its weights, and their identities, which checkpoints hold.
    pub(super) fn first_model<M: Module>(&self, model: M) -> Result<M, CollectiveError> {
        let own: Vec<u8> = Layout::new(&model)
            .ids
            .iter()
            .flat_map(|id| id.val().to_le_bytes())
            .collect();
        let first = self.exchange(&own)?.swap_remove(0);
        let (ids, _) = first.as_chunks::<8>();
        let model = model.map(&mut Identities(ids.iter()));
        self.weights_of(model, &|_| Some(0))
    }

    /// `model` with every parameter as it is on the rank that `owner` gives for it, by its place in the module; unchanged where it gives
    /// none.
    pub(super) fn weights_of<M: Module>(
        &self,
        model: M,
        owner: &dyn Fn(usize) -> Option<usize>,
    ) -> Result<M, CollectiveError> {
        let Some(ranks) = &self.0 else {
            return Ok(model);
        };
        let mut weights = FromRank {
            ranks: ranks.as_ref(),
            owner,
            visited: 0,
            failed: None,
        };
        let model = model.map(&mut weights);
        weights.failed.map_or(Ok(model), Err)
    }

    /// The loss of a step and its gradients: the means over the batches of all ranks. `batches` are those of this one, of which
    /// as many as there are `workers` are computed in parallel.
    pub(super) fn gradients<T: Task>(
        &self,
        task: &T,
        model: &T::Model,
        mut batches: Vec<T::Batch>,
        workers: &Workers,
    ) -> Result<(Loss, GradientsParams), CollectiveError> {
        let Some(ranks) = &self.0 else {
            return Ok(parallel::gradients(task, model, batches, workers));
        };
        let ranks = ranks.as_ref();
        let layout = Layout::new(model);
        let device = layout.device.clone();
        thread::scope(|scope| {
            let (sender, parts) = channel();
            let layout = &layout;
            let sums = scope.spawn(move || Sums::new(ranks, layout).of(parts));
            let mut ready = |gradients| {
                // The other side ends early only with an error, which it returns.
                let _ = sender.send(Flat::of(model, layout, gradients));
            };
            let loss = if batches.len() == 1 {
                // What is ready is summed over the ranks while the backward pass goes on.
                let batch = batches.pop().expect("one batch");
                task.gradients_as_ready(model, batch, &mut ready)
            } else {
                let (loss, gradients) = parallel::gradients(task, model, batches, workers);
                ready(gradients);
                loss
            };
            drop(sender);
            let sums = sums
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let loss = mean_loss(ranks, loss, &device)?;
            Ok((
                loss,
                layout.gradients(model, sums, 1.0 / ranks.world() as f32),
            ))
        })
    }
}

/// The mean of a loss over the ranks, and all examples.
fn mean_loss(ranks: &dyn Collective, loss: Loss, device: &Device) -> Result<Loss, CollectiveError> {
    let names: Vec<&'static str> = loss.parts.iter().map(|(name, _)| *name).collect();
    let examples = Tensor::from_data([loss.examples as f32], device);
    let parts = loss.parts.into_iter().map(|(_, value)| value);
    let values: Vec<Tensor<1>> = [loss.total, examples].into_iter().chain(parts).collect();
    let mut sums = ranks
        .all_reduce(Tensor::cat(values, 0))?
        .chunk(names.len() + 2, 0)
        .into_iter();
    let mut next = || sums.next().expect("as many sums as values");
    let factor = 1.0 / ranks.world() as f32;
    let total = next() * factor;
    let examples = next().into_scalar::<f32>() as usize;
    Ok(Loss {
        total,
        examples,
        parts: names
            .into_iter()
            .map(|name| (name, next() * factor))
            .collect(),
    })
}

/// The parameters of a module, in its order.
struct Layout {
    ids: Vec<ParamId>,
    sizes: Vec<usize>,
    device: Device,
}

impl Layout {
    fn new<M: Module>(model: &M) -> Self {
        let mut layout = Self {
            ids: Vec::new(),
            sizes: Vec::new(),
            device: Device::default(),
        };
        model.visit(&mut layout);
        layout
    }

    /// Sums as gradients, times `factor`.
    fn gradients<M: Module>(
        &self,
        model: &M,
        sums: Vec<Option<Tensor<1>>>,
        factor: f32,
    ) -> GradientsParams {
        let named = self.ids.iter().copied().zip(sums);
        let mut shaped = Shaped {
            sums: named.filter_map(|(id, sum)| Some((id, sum?))).collect(),
            factor,
            to: GradientsParams::new(),
        };
        model.visit(&mut shaped);
        shaped.to
    }
}

impl ModuleVisitor for Layout {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.ids.push(param.id);
        self.sizes.push(param.lazy_shape().num_elements());
        if self.ids.len() == 1 {
            let device = param.lazy_device();
            self.device = if device.is_autodiff() {
                device.inner()
            } else {
                device
            };
        }
    }
}

/// Gives sums the shapes of their parameters.
struct Shaped {
    sums: HashMap<ParamId, Tensor<1>>,
    factor: f32,
    to: GradientsParams,
}

impl ModuleVisitor for Shaped {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(sum) = self.sums.remove(&param.id) {
            let mean = scaled(sum, self.factor);
            self.to
                .register(param.id, mean.reshape(param.lazy_shape()) as Tensor<D>);
        }
    }
}

/// Some gradients of one rank, by the places of their parameters in the layout.
struct Flat(Vec<Option<Tensor<1>>>);

impl Flat {
    fn of<M: Module>(model: &M, layout: &Layout, gradients: GradientsParams) -> Self {
        let mut flattened = Flattened {
            gradients,
            flat: Vec::with_capacity(layout.ids.len()),
        };
        model.visit(&mut flattened);
        Self(flattened.flat)
    }
}

struct Flattened {
    gradients: GradientsParams,
    flat: Vec<Option<Tensor<1>>>,
}

impl ModuleVisitor for Flattened {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.remove::<D>(param.id);
        self.flat.push(gradient.map(|x| {
            let count = x.shape().num_elements();
            x.reshape([count])
        }));
    }
}

/// The sums of gradients over all ranks, bucket by bucket.
struct Sums<'a> {
    ranks: &'a dyn Collective,
    layout: &'a Layout,
    bucket: Vec<(usize, Tensor<1>)>,
    numbers: usize,
    sums: Vec<Option<Tensor<1>>>,
}

impl<'a> Sums<'a> {
    fn new(ranks: &'a dyn Collective, layout: &'a Layout) -> Self {
        Self {
            ranks,
            layout,
            bucket: Vec::new(),
            numbers: 0,
            sums: vec![None; layout.ids.len()],
        }
    }

    /// The sums of all that comes, until every rank has sent its last.
    fn of(mut self, parts: Receiver<Flat>) -> Result<Vec<Option<Tensor<1>>>, CollectiveError> {
        loop {
            // A parameter may have a gradient on some ranks only: what stands for a caption that is left out is in few batches.
            let own = parts.recv().map_or_else(|_| Vec::new(), |flat| flat.0);
            let mask: Vec<u8> = own.iter().map(|x| u8::from(x.is_some())).collect();
            let masks = self.ranks.exchange(&mask)?;
            if masks.iter().all(Vec::is_empty) {
                break;
            }
            let mut own = own.into_iter();
            for place in 0..self.layout.ids.len() {
                let gradient = own.next().flatten();
                if masks.iter().any(|mask| mask.get(place) == Some(&1)) {
                    self.add(place, gradient)?;
                }
            }
        }
        self.flush()?;
        Ok(self.sums)
    }

    fn add(&mut self, place: usize, gradient: Option<Tensor<1>>) -> Result<(), CollectiveError> {
        let size = self.layout.sizes[place];
        let zeros = || Tensor::zeros([size], &self.layout.device);
        self.bucket.push((place, gradient.unwrap_or_else(zeros)));
        self.numbers += size;
        if self.numbers >= BUCKET {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sums the bucket over the ranks.
    fn flush(&mut self) -> Result<(), CollectiveError> {
        self.numbers = 0;
        let (places, parts): (Vec<usize>, Vec<Tensor<1>>) = self.bucket.drain(..).unzip();
        if places.is_empty() {
            return Ok(());
        }
        let whole = self.ranks.all_reduce(Tensor::cat(parts, 0))?;
        let mut at = 0;
        for place in places {
            let end = at + self.layout.sizes[place];
            let part = whole.clone().slice_dim(0, at..end);
            at = end;
            let sum = &mut self.sums[place];
            *sum = Some(match sum.take() {
                Some(other) => other + part,
                None => part,
            });
        }
        Ok(())
    }
}

/// Gives parameters these identities, in their order.
struct Identities<'a>(std::slice::Iter<'a, [u8; 8]>);

impl ModuleMapper for Identities<'_> {
    fn map_float<const D: usize>(&mut self, mut param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if let Some(id) = self.0.next() {
            param.id = ParamId::from(u64::from_le_bytes(*id));
        }
        param
    }
}

/// Takes each parameter from the rank that owns it.
struct FromRank<'a> {
    ranks: &'a dyn Collective,
    owner: &'a dyn Fn(usize) -> Option<usize>,
    visited: usize,
    failed: Option<CollectiveError>,
}

impl ModuleMapper for FromRank<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let owner = (self.owner)(self.visited);
        self.visited += 1;
        let Some(owner) = owner.filter(|_| self.failed.is_none()) else {
            return param;
        };
        param.map(|value| {
            let (shape, recorded, trained) =
                (value.shape(), value.is_autodiff(), value.is_require_grad());
            let plain = if recorded {
                value.clone().inner()
            } else {
                value.clone()
            };
            let sent = self
                .ranks
                .broadcast(plain.reshape([shape.num_elements()]), owner);
            let received = match sent {
                Ok(received) => received.reshape(shape),
                Err(error) => {
                    self.failed = Some(error);
                    return value;
                }
            };
            match (recorded, trained) {
                (false, _) => received,
                (true, false) => Tensor::from_inner(received),
                (true, true) => Tensor::from_inner(received).require_grad(),
            }
        })
    }
}
