//! AdamW (arXiv 1711.05101) of one parameter, with moments in a chosen number format.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor, TensorData};
use nextscale_tokenizer::cpu::{is_cpu, numbers, plain};

use super::moments::{Moment, MomentFormat, update};
use super::optimizer::AdamWConfig;

/// The factor on the weight decay, which changes over a run.
#[derive(Clone, Debug)]
pub(super) struct DecayFactor(Arc<AtomicU64>);

impl DecayFactor {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1f64.to_bits())))
    }

    pub(super) fn set(&self, factor: f64) {
        self.0.store(factor.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// The update of one parameter.
#[derive(Clone, Debug)]
pub(super) struct ParameterAdamW {
    pub config: AdamWConfig,
    /// The config's, or 0.
    pub weight_decay: f32,
    /// Factor on the learning rate.
    pub rate_factor: f64,
    pub decay_factor: DecayFactor,
}

/// What AdamW remembers of a parameter.
#[derive(Clone, Debug)]
pub(super) struct AdamWState<const D: usize> {
    /// Updates so far.
    time: usize,
    shape: [usize; D],
    first: Moment,
    second: Moment,
    /// Both moments in f32 where a card has the parameter.
    on_card: Option<[Tensor<D>; 2]>,
}

/// The numbers of one update.
#[derive(Clone, Copy)]
struct Step {
    beta: [f32; 2],
    /// 1 over what the moments lack because they started at zero.
    correction: [f32; 2],
    epsilon: f32,
    rate: f32,
    /// What is left of a weight after its decay.
    kept: f32,
}

impl Step {
    /// One pass over a block.
    fn apply(self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let [b1, b2] = self.beta;
        let [c1, c2] = self.correction;
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            let delta = (*m * c1) / ((*v * c2).sqrt() + self.epsilon);
            *p = *p * self.kept - self.rate * delta;
        }
    }
}

impl ParameterAdamW {
    fn numbers(&self, rate: LearningRate, time: usize) -> Step {
        let AdamWConfig {
            beta_1,
            beta_2,
            epsilon,
            ..
        } = self.config;
        let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(time as i32))) as f32;
        let rate = rate * self.rate_factor;
        let decay = rate * f64::from(self.weight_decay) * self.decay_factor.get();
        Step {
            beta: [beta_1, beta_2],
            correction: [correction(beta_1), correction(beta_2)],
            epsilon,
            rate: rate as f32,
            kept: (1.0 - decay) as f32,
        }
    }

    /// On a card, by operations on whole tensors; the moments are f32 or bf16 there.
    fn on_card<const D: usize>(
        &self,
        step: Step,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        [m, v]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let ([b1, b2], [c1, c2]) = (step.beta, step.correction);
        let [m, v] = [m, v].map(crate::dtype::f32);
        let m = m * b1 + grad.clone() * (1.0 - b1);
        let v = v * b2 + grad.square() * (1.0 - b2);
        let delta = (m.clone() * c1) / ((v.clone() * c2).sqrt() + step.epsilon);
        let kept = [m, v].map(|moment| match self.config.states {
            MomentFormat::F32 => moment,
            MomentFormat::Bf16 | MomentFormat::Int8 => at_random_in_bf16(moment),
        });
        (tensor * step.kept - delta * step.rate, kept)
    }
}

/// Rounded to bf16, up or down at random.
fn at_random_in_bf16<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let share = Tensor::random(
        x.dims(),
        burn::tensor::Distribution::Uniform(-0.5, 0.5),
        &x.device(),
    );
    // Half of the last of 8 places, on either side.
    let noise = x.clone().abs() * share * (0.5f32).powi(7);
    (x + noise).cast(burn::tensor::DType::BF16)
}

impl Optimizer for ParameterAdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let (shape, format) = (tensor.dims(), self.config.states);
        let count = tensor.shape().num_elements();
        let mut state = state.unwrap_or_else(|| AdamWState {
            time: 0,
            shape,
            first: Moment::zeros(format, count),
            second: Moment::zeros(format, count),
            on_card: None,
        });
        state.time += 1;
        let step = self.numbers(rate, state.time);
        let device = tensor.device();
        if !is_cpu(&device) {
            let moments = state.take_on_card(&device);
            let (tensor, moments) = self.on_card(step, tensor, grad, moments);
            state.on_card = Some(moments);
            return (tensor, Some(state));
        }
        let time = state.time;
        let AdamWState { first, second, .. } = &mut state;
        for (moment, signed) in [(&mut *first, true), (&mut *second, false)] {
            let taken = std::mem::replace(moment, Moment::F32(Vec::new()));
            *moment = taken.in_format(format, signed);
        }
        let grad = plain(&grad)
            .expect("gradients of parameters on the CPU")
            .to_contiguous();
        let values = tensor.into_data().try_into_vec::<f32>();
        let mut values = values.expect("what is trained is f32");
        let moments = [first, second];
        update(&mut values, numbers(&grad), moments, time, |p, g, m, v| {
            step.apply(p, g, m, v);
        });
        let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
        (tensor, Some(state))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, _: &Device) -> AdamWState<D> {
        state
    }
}

impl<const D: usize> AdamWState<D> {
    /// Both moments on a card; those of a checkpoint move there.
    fn take_on_card(&mut self, device: &Device) -> [Tensor<D>; 2] {
        if let Some(moments) = self.on_card.take() {
            return moments;
        }
        let empty = || Moment::F32(Vec::new());
        let moments = [(&mut self.first, true), (&mut self.second, false)];
        moments.map(|(moment, signed)| {
            let moment = std::mem::replace(moment, empty()).in_format(MomentFormat::F32, signed);
            let (data, _) = moment.to_data(&self.shape);
            Tensor::from_data(data, device)
        })
    }

    /// Both moments in memory.
    fn moments(&self) -> [Moment; 2] {
        let Some(moments) = &self.on_card else {
            return [self.first.clone(), self.second.clone()];
        };
        moments.clone().map(|moment| {
            Moment::of_data(moment.into_data(), None).expect("moments on a card are f32 or bf16")
        })
    }
}

/// Names of both moments in a checkpoint; runs of earlier versions have the same.
const MOMENTS: [&str; 2] = ["momentum.moment_1", "momentum.moment_2"];
/// The ending of the name of the factors of 8-bit codes.
const FACTORS: &str = "_factors";

impl<const D: usize> RecordState for AdamWState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "momentum.time", self.time.into());
        for (moment, name) in self.moments().iter().zip(MOMENTS) {
            let (data, factors) = moment.to_data(&self.shape);
            out.push_tensor(prefix, name, data);
            if let Some(factors) = factors {
                out.push_tensor(prefix, &format!("{name}{FACTORS}"), factors);
            }
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, _: &Device) -> Option<Self> {
        let time = source.take_scalar(prefix, "momentum.time")?;
        let mut shape = [0; D];
        let mut moment = |name: &str| {
            let data = source.take_tensor(prefix, name)?;
            shape.copy_from_slice(data.shape().as_ref());
            let factors = source.take_tensor(prefix, &format!("{name}{FACTORS}"));
            Moment::of_data(data, factors)
        };
        let (first, second) = (moment(MOMENTS[0])?, moment(MOMENTS[1])?);
        Some(Self {
            time: usize::try_from(time).ok()?,
            shape,
            first,
            second,
            on_card: None,
        })
    }
}
