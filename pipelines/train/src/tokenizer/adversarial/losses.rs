//! The losses of both sides and their gradients, which are kept apart: none of the generator's loss reaches the discriminator, and
//! none of the discriminator's the auto-encoder.

use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::activation::{log_sigmoid, relu};
use burn::tensor::{Gradients, Tensor};

use crate::tokenizer::adversarial::batch_norm::Statistics;
use crate::tokenizer::adversarial::config::DiscriminatorLoss;
use crate::tokenizer::adversarial::discriminator::PatchDiscriminator;

/// Added to the norm of the generator's gradient, and the largest adaptive weight (`calculate_adaptive_weight`).
const EPSILON: f64 = 1e-4;
const LARGEST: f64 = 1e4;

/// What the discriminator says to reconstructions.
pub(crate) struct Generated {
    /// `-mean D(fake)`, `[1]`.
    pub loss: Tensor<1>,
    /// Its gradient with respect to the reconstructions, `[n, 3, h, w]`.
    pub gradient: Tensor<4>,
    /// The statistics of each norm.
    pub statistics: Vec<Statistics>,
}

/// The generator's loss, without autodiff. `choose` takes the images that the discriminator sees out of the reconstructions `fake`,
/// `[n, 3, h, w]` without autodiff.
pub(crate) fn generate(
    discriminator: &PatchDiscriminator,
    fake: Tensor<4>,
    choose: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Generated {
    let frozen = discriminator.clone().no_grad();
    let fake = Tensor::from_inner(fake).require_grad();
    let judgement = frozen.forward(choose(fake.clone()));
    let loss = judgement.logits.mean().neg();
    let gradients = loss.backward();
    Generated {
        loss: loss.inner(),
        gradient: gradient_of(&fake, &gradients),
        statistics: judgement.statistics,
    }
}

/// The discriminator's own step.
pub(crate) struct Discriminated {
    /// Its loss, `[1]`.
    pub loss: Tensor<1>,
    /// Mean logits of images and of reconstructions, `[1]` each.
    pub logits: [Tensor<1>; 2],
    /// The gradients of its parameters.
    pub gradients: GradientsParams,
    /// The statistics of each norm, for images and for reconstructions.
    pub statistics: [Vec<Statistics>; 2],
}

/// The discriminator's loss, without autodiff. `both` are images and reconstructions, `[n, 3, h, w]` each, without autodiff.
pub(crate) fn discriminate(
    discriminator: &PatchDiscriminator,
    loss: DiscriminatorLoss,
    both: [Tensor<4>; 2],
) -> Discriminated {
    let [real, fake] = both.map(|images| discriminator.forward(Tensor::from_inner(images)));
    let total = discriminator_loss(loss, real.logits.clone(), fake.logits.clone());
    let gradients = GradientsParams::from_grads(total.backward(), discriminator);
    Discriminated {
        loss: total.inner(),
        logits: [real.logits, fake.logits].map(|logits| logits.inner().mean()),
        gradients,
        statistics: [real.statistics, fake.statistics],
    }
}

/// The discriminator's loss, `[1]` (`hinge_d_loss`, `vanilla_d_loss`).
fn discriminator_loss(loss: DiscriminatorLoss, real: Tensor<4>, fake: Tensor<4>) -> Tensor<1> {
    let sum = match loss {
        DiscriminatorLoss::Hinge => relu(real.neg() + 1.0).mean() + relu(fake + 1.0).mean(),
        // softplus(x) is -log_sigmoid(-x).
        DiscriminatorLoss::Vanilla => {
            log_sigmoid(real).mean().neg() + log_sigmoid(fake.neg()).mean().neg()
        }
    };
    sum * 0.5
}

/// The factor that makes the generator's gradient at the decoder's last convolution as large as that of the reconstruction, `[1]`
/// (`calculate_adaptive_weight`). Both are norms, `[1]`, without autodiff.
pub(crate) fn adaptive_weight(reconstruction: Tensor<1>, generator: Tensor<1>) -> Tensor<1> {
    (reconstruction / (generator + EPSILON)).clamp(0.0, LARGEST)
}

/// The gradient of a leaf; 0 if nothing depends on it.
pub(crate) fn gradient_of<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Tensor<D> {
    let zeros = || leaf.clone().inner().zeros_like();
    leaf.grad(gradients).unwrap_or_else(zeros)
}
