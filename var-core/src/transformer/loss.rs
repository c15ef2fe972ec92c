//! The training loss: cross entropy of every token.

use burn::tensor::{Int, Tensor, activation::log_softmax};
use nextscale_tokenizer::{Codes, Pyramid, Quantizer, ScaleSchedule, pyramid::Refine};

use super::{Var, VarPlan};

/// What teacher forcing needs of a batch of pictures.
#[derive(Debug, Clone)]
pub struct VarForcing {
    /// The running feature map brought to each scale but the first, `[b, l - n_1, c]`.
    pub inputs: Tensor<3>,
    /// The codes that every token should predict, `[b, l]`.
    pub targets: Tensor<2, Int>,
}

impl VarForcing {
    /// From the codes of all scales of `schedule`, of which there must be two or more.
    ///
    /// # Panics
    /// If the codes are bits, or those of a single scale.
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

    /// Only the first scales: those of `schedule`.
    ///
    /// # Panics
    /// If they are more than there are.
    pub fn first(self, schedule: &ScaleSchedule) -> Self {
        let (first, l) = (schedule.scales()[0].tokens(), schedule.tokens());
        Self {
            inputs: self.inputs.slice_dim(1, 0..l - first),
            targets: self.targets.slice_dim(1, 0..l),
        }
    }
}

/// Loss of a batch, and how well its codes were guessed.
#[derive(Debug, Clone)]
pub struct VarLoss {
    /// The weighted mean of the cross entropy, `[1]`, on the tape.
    pub loss: Tensor<1>,
    /// Cross entropy of every token without smoothing, `[b, l]`, off the tape.
    pub per_token: Tensor<2>,
    /// 1 where the likeliest code is the right one, else 0, `[b, l]`, off the tape.
    pub right: Tensor<2>,
}

/// The loss of a batch under teacher forcing: `sum_i w_i CE(logits_i, code_i)`, the mean over the batch.
///
/// `labels` are classes, one a picture, where [`Var::classes`] is no class. `weights`, `[1, l]`, say how much every token
/// counts; they sum to 1 in the released recipe, where all are the same. With `smoothing` e the right code should get
/// `1 - e + e / V` and every other one `e / V`.
///
/// # Panics
/// If the shapes do not fit the plan.
pub fn loss(
    model: &Var,
    batch: &VarForcing,
    labels: &[usize],
    plan: &VarPlan,
    weights: &Tensor<2>,
    smoothing: f64,
) -> VarLoss {
    let logits = model.forward(batch.inputs.clone(), labels, plan);
    let [b, l, _] = logits.dims();
    let targets = batch.targets.clone().unsqueeze_dim::<3>(2);
    let likeliest = logits.clone().detach().argmax(2);
    let right = likeliest.equal(targets.clone()).float().reshape([b, l]);
    let log = log_softmax(logits, 2);
    let per_token = -log.clone().gather(2, targets).reshape([b, l]);
    let smooth = match smoothing > 0.0 {
        true => {
            let all = -log.mean_dim(2).reshape([b, l]);
            per_token.clone() * (1.0 - smoothing) + all * smoothing
        }
        false => per_token.clone(),
    };
    VarLoss {
        loss: (smooth * weights.clone()).sum() / b as f64,
        per_token: per_token.detach(),
        right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::{AttentionKind, Modulation, VarConfig};
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

    fn batch(device: &Device) -> VarForcing {
        let targets: Vec<i32> = (0..28).map(|i| i % 7).collect();
        VarForcing {
            inputs: Tensor::random([2, 13, 4], Distribution::Default, device),
            targets: Tensor::from_data(TensorData::new(targets, [2, 14]), device),
        }
    }

    /// What a scale says does not depend on later ones, so its loss is the same when they are left out.
    #[test]
    fn the_first_scales_alone_have_the_loss_that_they_have_among_all() {
        let (device, config) = (Device::flex(), config());
        let model = config.init(&device);
        let batch = batch(&device);
        let weights = |l: usize| Tensor::<2>::full([1, l], 1.0 / l as f64, &device);
        let plan = VarPlan::teacher_forcing(&config, &device);
        let all = loss(&model, &batch, &[0, 3], &plan, &weights(14), 0.0);
        let fewer = VarConfig {
            schedule: ScaleSchedule::square(&[1, 2]).unwrap(),
            ..config
        };
        let plan = VarPlan::teacher_forcing(&fewer, &device);
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
        let plan = VarPlan::teacher_forcing(&config, &device);
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
