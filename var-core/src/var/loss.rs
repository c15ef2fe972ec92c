//! The training loss: cross entropy of every token.

use burn::tensor::{Int, Tensor, activation::log_softmax};
use nextscale_tokenizer::{Codes, Pyramid, Quantizer, ScaleSchedule, pyramid::Refine};

use super::model::Var;
use super::plan::Plan;

/// A batch of images for teacher forcing.
#[derive(Debug, Clone)]
pub struct TeacherForcing {
    /// The running feature map resized to each scale but the first, `[b, l - n_1, c]`.
    pub inputs: Tensor<3>,
    /// The codes that every token should predict, `[b, l]`.
    pub targets: Tensor<2, Int>,
}

impl TeacherForcing {
    /// From the codes of all scales of `schedule`, which must have at least two.
    ///
    /// # Panics
    /// If the codes are bits, or there is a single scale.
    pub fn new<Q: Quantizer + ?Sized, R: Refine + ?Sized>(
        pyramid: &Pyramid<'_, Q, R>,
        codes: &[Codes],
        schedule: &ScaleSchedule,
    ) -> Self {
        let inputs = pyramid.inputs(codes, schedule).into_iter().map(|cells| {
            let [b, c, t, h, w] = cells.dims();
            cells.reshape([b, c, t * h * w]).swap_dims(1, 2) // [b, n, c]
        });
        let targets = codes.iter().map(|codes| {
            let indices = codes.clone().indices().expect("indices of a codebook");
            let [b, t, h, w] = indices.dims();
            indices.reshape([b, t * h * w])
        });
        Self {
            inputs: Tensor::cat(inputs.collect(), 1),
            targets: Tensor::cat(targets.collect(), 1),
        }
    }

    /// Only the first scales, those of `schedule`.
    ///
    /// # Panics
    /// If `schedule` has more tokens than the batch.
    pub fn first(self, schedule: &ScaleSchedule) -> Self {
        let (first, l) = (schedule.scales()[0].tokens(), schedule.tokens());
        Self {
            inputs: self.inputs.slice_dim(1, 0..l - first),
            targets: self.targets.slice_dim(1, 0..l),
        }
    }
}

/// The loss of a batch, and how well its codes were predicted.
#[derive(Debug, Clone)]
pub struct CodeLoss {
    /// Weighted mean of the cross entropy, `[1]`, differentiable.
    pub loss: Tensor<1>,
    /// Cross entropy of every token without smoothing, `[b, l]`, detached.
    pub per_token: Tensor<2>,
    /// 1 where the most likely code is the right one, otherwise 0, `[b, l]`, detached.
    pub right: Tensor<2>,
}

/// The loss of a batch under teacher forcing: `sum_i w_i CE(logits_i, code_i)`, the mean over the batch.
///
/// `labels` has one class per image, where [`Var::classes`] is the unconditional one. `weights`, `[1, l]`, has the weight
/// of every token; the weights sum to 1 in the released recipe, where all are equal. With `smoothing` e the target of the
/// right code is `1 - e + e / V`, that of every other code `e / V`.
///
/// # Panics
/// If the shapes do not fit the plan.
pub fn loss(
    model: &Var,
    batch: &TeacherForcing,
    labels: &[usize],
    plan: &Plan,
    weights: &Tensor<2>,
    smoothing: f64,
) -> CodeLoss {
    let logits = model.forward(batch.inputs.clone(), labels, plan);
    CodeLoss::new(logits, batch.targets.clone(), weights, smoothing)
}

impl CodeLoss {
    /// Of logits, `[b, l, V]`, and codes, `[b, l]`.
    pub(super) fn new(
        logits: Tensor<3>,
        targets: Tensor<2, Int>,
        weights: &Tensor<2>,
        smoothing: f64,
    ) -> Self {
        let [b, l, _] = logits.dims();
        let targets = targets.unsqueeze_dim::<3>(2);
        let most_likely = logits.clone().detach().argmax(2);
        let right = most_likely.equal(targets.clone()).float().reshape([b, l]);
        let log = log_softmax(logits, 2);
        let per_token = -log.clone().gather(2, targets).reshape([b, l]);
        let smooth = if smoothing > 0.0 {
            let all = -log.mean_dim(2).reshape([b, l]);
            per_token.clone() * (1.0 - smoothing) + all * smoothing
        } else {
            per_token.clone()
        };
        Self {
            loss: (smooth * weights.clone()).sum() / b as f64,
            per_token: per_token.detach(),
            right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::AttentionKind;
    use crate::var::config::{Modulation, VarConfig};
    use burn::tensor::{Device, Distribution, TensorData};

    fn config() -> VarConfig {
        VarConfig {
            width: 32,
            depth: 1,
            heads: 2,
            classes: 3,
            vocabulary: 7,
            channels: 4,
            schedule: ScaleSchedule::square(&[1, 2, 3]).unwrap(),
            mlp_ratio: 2.0,
            modulation: Modulation::Own,
            attention: AttentionKind::Cosine,
        }
    }

    fn batch(device: &Device) -> TeacherForcing {
        let targets: Vec<i32> = (0..28).map(|i| i % 7).collect();
        TeacherForcing {
            inputs: Tensor::random([2, 13, 4], Distribution::Default, device),
            targets: Tensor::from_data(TensorData::new(targets, [2, 14]), device),
        }
    }

    /// The logits of a scale do not depend on later scales, so its loss is the same without them.
    #[test]
    fn the_first_scales_alone_have_the_loss_that_they_have_among_all() {
        let (device, config) = (Device::flex(), config());
        let model = config.init(&device);
        let batch = batch(&device);
        let weights = |l: usize| Tensor::<2>::full([1, l], 1.0 / l as f64, &device);
        let plan = Plan::teacher_forcing(&config, &device);
        let all = loss(&model, &batch, &[0, 3], &plan, &weights(14), 0.0);
        let fewer = VarConfig {
            schedule: ScaleSchedule::square(&[1, 2]).unwrap(),
            ..config
        };
        let plan = Plan::teacher_forcing(&fewer, &device);
        let first = batch.first(&fewer.schedule);
        let few = loss(&model, &first, &[0, 3], &plan, &weights(5), 0.0);
        let off = (all.per_token.clone().slice_dim(1, 0..5) - few.per_token.clone()).abs();
        assert!(off.max().into_scalar::<f32>() < 1e-5);
        let off = few.loss - few.per_token.mean();
        assert!(off.abs().into_scalar::<f32>() < 1e-6);
    }

    #[test]
    fn smoothing_moves_the_loss_towards_that_of_all_codes() {
        let (device, config) = (Device::flex(), config());
        let model = config.init(&device);
        let batch = batch(&device);
        let plan = Plan::teacher_forcing(&config, &device);
        let weights = Tensor::<2>::full([1, 14], 1.0 / 14.0, &device);
        let with = |smoothing| {
            let loss = loss(&model, &batch, &[1, 2], &plan, &weights, smoothing);
            loss.loss.into_scalar::<f32>()
        };
        let logits = model.forward(batch.inputs.clone(), &[1, 2], &plan);
        let all = -log_softmax(logits, 2).mean().into_scalar::<f32>();
        let expected = 0.75 * with(0.0) + 0.25 * all;
        assert!((with(0.25) - expected).abs() < 1e-5);
    }
}
