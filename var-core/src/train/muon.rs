//! Muon of one parameter: momentum, and of every matrix's update the nearest one whose singular values are all 1.
//!
//! From K. Jordan's description (<https://kellerjordan.github.io/posts/muon>), with the step size of arXiv 2502.16982, at which it
//! learns well at AdamW's learning rate. A convolution is a matrix with a row per output channel.
//!
//! The matrices' updates do not depend on each other, and each is a chain of small products. So the optimiser only collects them
//! ([`Waiting`]), and they are computed together, a matrix per core.

use std::collections::HashMap;
use std::mem::take;
use std::sync::{Arc, Mutex, OnceLock};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor, TensorData};
use nextscale_tokenizer::cpu::{is_cpu, numbers, plain};
use nextscale_tokenizer::product::bf16::{self, Factor};
use serde::{Deserialize, Serialize};

use super::adamw::DecayFactor;
use super::passes::{mixed, momentum, sum_of_squares};
use super::workers::Workers;

/// Hyper-parameters of Muon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MuonConfig {
    /// Decay of the momentum, which looks ahead as Nesterov's does.
    pub momentum: f32,
    /// Factor on the learning rate.
    pub rate: f64,
}

impl Default for MuonConfig {
    fn default() -> Self {
        Self {
            momentum: 0.95,
            rate: 1.0,
        }
    }
}

/// The update of one matrix.
#[derive(Clone)]
pub(super) struct ParameterMuon {
    pub config: MuonConfig,
    pub weight_decay: f64,
    pub decay_factor: DecayFactor,
    /// The matrix.
    pub id: ParamId,
    pub waiting: Waiting,
}

/// What Muon remembers of a matrix.
#[derive(Clone)]
pub(super) struct MuonState<const D: usize> {
    velocity: Tensor<D>,
}

impl Optimizer for ParameterMuon {
    type State<const D: usize> = MuonState<D>;

    /// Leaves the matrix as it is, and its update to [`Waiting::apply`].
    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<MuonState<D>>,
    ) -> (Tensor<D>, Option<MuonState<D>>) {
        let velocity = state.map(|state| state.velocity);
        let (ahead, velocity) = momentum(velocity, grad, self.config.momentum);
        let shape = ahead.dims();
        let columns = shape[1..].iter().product::<usize>();
        let rate = rate * self.config.rate;
        // AdamW's updates have a root mean square of about 0.2, whatever the shape.
        let length = 0.2 * (shape[0].max(columns) as f64).sqrt();
        let update = Update {
            direction: ahead.reshape([shape[0], columns]),
            kept: 1.0 - rate * self.weight_decay * self.decay_factor.get(),
            factor: -rate * length,
        };
        self.waiting.push(self.id, update);
        (tensor, Some(MuonState { velocity }))
    }

    fn to_device<const D: usize>(state: MuonState<D>, device: &Device) -> MuonState<D> {
        MuonState {
            velocity: state.velocity.to_device(device),
        }
    }
}

/// An update of a matrix: `kept` times it, plus `factor` times the direction.
struct Update {
    /// With a row per row of the matrix.
    direction: Tensor<2>,
    kept: f64,
    factor: f64,
}

/// Updates of a step whose directions still have the gradients' singular values.
#[derive(Clone, Default)]
pub(super) struct Waiting {
    updates: Arc<Mutex<Vec<(ParamId, Update)>>>,
    /// What computes them, from the first step on.
    workers: Arc<OnceLock<Workers>>,
}

impl Waiting {
    fn push(&self, id: ParamId, update: Update) {
        let updates = self.updates.lock();
        updates.expect("no holder panics").push((id, update));
    }

    /// `model` after the updates.
    pub(super) fn apply<M: Module>(&self, model: M) -> M {
        let mut waiting = take(&mut *self.updates.lock().expect("no holder panics"));
        // The largest first, so that no core waits for one at the end.
        waiting.sort_by_key(|(_, update)| update.direction.shape().num_elements());
        waiting.reverse();
        let Some((_, first)) = waiting.first() else {
            return model;
        };
        let on_cpu = is_cpu(&first.direction.device());
        let workers = self.workers.get_or_init(|| {
            if on_cpu {
                Workers::on_every_core()
            } else {
                Workers::new(1)
            }
        });
        let updates = workers.all(waiting, |(id, update)| {
            let direction = orthogonal(update.direction);
            (
                id,
                Update {
                    direction,
                    ..update
                },
            )
        });
        model.map(&mut Apply(updates.into_iter().collect()))
    }
}

struct Apply(HashMap<ParamId, Update>);

impl ModuleMapper for Apply {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(update) = self.0.remove(&param.id) else {
            return param;
        };
        param.map(|matrix| {
            let direction = update.direction.reshape(matrix.shape());
            let matrix = mixed(matrix.inner(), update.kept, &direction, update.factor);
            Tensor::from_inner(matrix).require_grad()
        })
    }
}

/// Name of the momentum in a checkpoint.
const VELOCITY: &str = "velocity";

impl<const D: usize> RecordState for MuonState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, VELOCITY, self.velocity.to_data());
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let data = source.take_tensor(prefix, VELOCITY)?;
        (data.shape().num_dims() == D).then(|| Self {
            velocity: Tensor::from_data(data, device),
        })
    }
}

/// Iterations of [`orthogonal`].
const ITERATIONS: usize = 5;
/// Factors of `s`, `s^3` and `s^5` in an iteration for a singular value `s`. They bring values from 0.01 up to between 0.7 and 1.2
/// in five iterations, where factors that converge to 1 need many more.
const FACTORS: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// A matrix with the singular vectors of `g` and singular values of about 1, by iterations of Newton and Schulz: with factors
/// in bf16, which is exact enough, where a CPU is faster with it.
fn orthogonal(g: Tensor<2>) -> Tensor<2> {
    let norm = sum_of_squares(&g).sqrt().clamp_min(1e-15); // of zeros too
    match plain(&g).filter(|_| bf16::is_available()) {
        Some(x) => {
            let shape = g.dims();
            let x = x.to_contiguous();
            let values = iterated_in_bf16(numbers(&x), shape, norm.into_scalar());
            Tensor::from_data(TensorData::new(values, shape), &g.device())
        }
        None => iterated(g / norm.reshape([1, 1])),
    }
}

/// The iterations, of a matrix with a norm of 1.
fn iterated(mut x: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    if rows > columns {
        return iterated(x.transpose()).transpose();
    }
    let [first, third, fifth] = FACTORS;
    for _ in 0..ITERATIONS {
        let square = x.clone().matmul(x.clone().transpose());
        let factor = square.clone() * third + square.clone().matmul(square) * fifth;
        x = x.clone() * first + factor.matmul(x);
    }
    x
}

/// As [`iterated`], of `x / norm` on the CPU and without a transposed copy.
fn iterated_in_bf16(x: &[f32], [rows, columns]: [usize; 2], norm: f32) -> Vec<f32> {
    let [first, third, fifth] = FACTORS.map(|factor| factor as f32);
    let (wide, least, most) = (rows <= columns, rows.min(columns), rows.max(columns));
    let mut now = Vec::new();
    for i in 0..ITERATIONS {
        let (x, scale) = if i == 0 {
            (x, 1.0 / norm)
        } else {
            (&*now, 1.0)
        };
        let along = || {
            if wide {
                Factor::Rows(x)
            } else {
                Factor::Columns(x)
            }
        };
        let mut square = bf16::product([least, least, most], along(), along());
        square.iter_mut().for_each(|x| *x *= scale * scale);
        let symmetric = || Factor::Rows(&square);
        let mut factor = bf16::product([least; 3], symmetric(), symmetric());
        let both = factor.iter_mut().zip(&square);
        both.for_each(|(factor, square)| *factor = (*factor * fifth + square * third) * scale);
        let diagonal = factor.iter_mut().step_by(least + 1);
        diagonal.for_each(|factor| *factor += first * scale);
        let factor = Factor::Rows(&factor);
        now = if wide {
            bf16::product([least, most, least], factor, Factor::Columns(x))
        } else {
            bf16::product([most, least, least], Factor::Rows(x), factor)
        };
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::Distribution;

    fn random(shape: [usize; 2]) -> Tensor<2> {
        let device = Device::flex();
        device.seed(3);
        Tensor::random(shape, Distribution::Normal(0.0, 1e-3), &device)
    }

    /// The singular values of the result are near 1, and it points where the matrix does.
    #[test]
    fn updates_are_orthogonal_in_both_shapes() {
        for shape in [[8, 40], [40, 8], [12, 12], [1, 5]] {
            let g = random(shape);
            let x = orthogonal(g.clone());
            assert_eq!(x.dims(), shape);
            let small = if shape[0] <= shape[1] {
                x.clone().matmul(x.clone().transpose())
            } else {
                x.clone().transpose().matmul(x.clone())
            };
            // The trace is the sum of the squares of the singular values, 0.7 to 1.2.
            let least = shape[0].min(shape[1]);
            let trace: f32 = (small * Tensor::eye(least, &Device::flex()))
                .sum()
                .into_scalar();
            let mean = trace / least as f32;
            assert!((0.45..1.5).contains(&mean), "{shape:?}: {mean}");
            let along: f32 = (x * g.clone()).sum().into_scalar();
            let norm: f32 = g.square().sum().sqrt().into_scalar();
            assert!(along > 0.68 * norm, "{shape:?}: {along} of {norm}");
        }
        let g = random([30, 50]);
        let x = g.clone() / g.square().sum().sqrt().reshape([1, 1]);
        if bf16::is_available() {
            for x in [x.clone(), x.transpose()] {
                let values: Vec<f32> = (x.clone() * 0.3).into_data().iter().collect();
                let fast = iterated_in_bf16(&values, x.dims(), 0.3);
                let fast = Tensor::<2>::from_data(TensorData::new(fast, x.dims()), &Device::flex());
                let off: f32 = (fast - iterated(x)).abs().max().into_scalar();
                assert!(off < 0.03, "{off}");
            }
        }
        let zero: f32 = orthogonal(Tensor::zeros([3, 4], &Device::flex()))
            .abs()
            .sum()
            .into_scalar();
        assert_eq!(zero, 0.0);
    }

    /// The first step has the size of AdamW's, and decay shrinks the weight beside it.
    #[test]
    fn a_step_has_the_length_of_adamw() {
        let device = Device::flex().autodiff();
        let layer = Conv2dConfig::new([4, 16], [3, 3]).init(&device);
        let waiting = Waiting::default();
        let muon = ParameterMuon {
            config: MuonConfig::default(),
            weight_decay: 0.1,
            decay_factor: DecayFactor::new(),
            id: layer.weight.id,
            waiting: waiting.clone(),
        };
        let weight = layer.weight.val().inner();
        let (same, state) = muon.step(
            1e-2,
            weight.clone(),
            random([16, 36]).reshape([16, 4, 3, 3]),
            None,
        );
        assert!(state.is_some());
        let off: f32 = (same - weight.clone()).abs().max().into_scalar();
        assert_eq!(off, 0.0);
        let layer = waiting.apply(layer);
        assert!(layer.weight.is_require_grad());
        let moved = layer.weight.val().inner() - weight * (1.0 - 1e-3);
        let size: f32 = moved.square().mean().sqrt().into_scalar();
        assert!((1.2e-3..2.8e-3).contains(&size), "{size}");
    }
}
