//! Loss and gradients of a batch.
//!
//! With a discriminator no network runs backward twice. The gradients of the reconstruction's loss and of the generator's with
//! respect to the reconstructed pixels are computed first; those of the decoder's last convolution, which the adaptive weight needs,
//! follow from them by that layer alone. Their weighted sum is then the only gradient that goes backward through the auto-encoder.

use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use nextscale_metrics::lpips::Lpips;
use nextscale_var_core::train::{Apart, Loss, TrainOptions, add_gradients};

use crate::error::Result;
use crate::tokenizer::adversarial::{
    Adversarial, AdversarialLoss, DISCRIMINATOR, PatchDiscriminator, Statistics, adaptive_weight,
    discriminate, generate, gradient_of,
};
use crate::tokenizer::objective::frames::Frames;
use crate::tokenizer::objective::reconstruction::Reconstruction;
use crate::tokenizer::perceptual::PerceptualLoss;

/// The settings of a run that an objective follows from.
pub(crate) struct Settings<'a> {
    /// `loss.perceptual`.
    pub perceptual: Option<&'a PerceptualLoss>,
    /// `loss.adversarial`.
    pub adversarial: Option<&'a AdversarialLoss>,
    /// How the run is trained.
    pub train: TrainOptions,
    /// Seed of the run.
    pub seed: u64,
}

impl Settings<'_> {
    /// Rejects numbers out of range, and images of `size` x `size` pixels that are too small.
    pub(crate) fn check(&self, size: usize) -> Result<()> {
        if let Some(perceptual) = self.perceptual {
            perceptual.check(size)?;
        }
        if let Some(adversarial) = self.adversarial {
            adversarial.check(size)?;
        }
        Ok(())
    }

    /// The model to train: `autoencoder`, and a discriminator with random weights if there is to be one.
    pub(crate) fn model<A: Module>(&self, autoencoder: A, device: &Device) -> Adversarial<A> {
        let Some(loss) = self.adversarial else {
            return Adversarial::alone(autoencoder);
        };
        let model = Adversarial {
            autoencoder,
            discriminator: Some(PatchDiscriminator::init(loss, device)),
        };
        // Parameters are drawn when they are read: those of the auto-encoder first, as without a discriminator.
        drop(model.valid());
        model
    }

    /// The objective; reads the weights of VGG16 to `device`.
    ///
    /// # Errors
    /// As [`PerceptualLoss::open`].
    pub(crate) fn objective(&self, device: &Device) -> Result<Objective> {
        let open = |loss: &PerceptualLoss| -> Result<_> {
            Ok(Perceptual {
                lpips: loss.open(&device.clone().inner())?,
                weight: loss.weight,
                frames: loss.frames,
            })
        };
        Ok(Objective {
            perceptual: self.perceptual.map(open).transpose()?,
            adversarial: self.adversarial.cloned(),
            train: self.train,
            seed: self.seed,
            passes: Mutex::default(),
        })
    }
}

struct Perceptual {
    lpips: Lpips,
    weight: f64,
    frames: usize,
}

/// The statistics of the passes through the discriminator in one batch, in their order.
type Passes = [Vec<Statistics>; 3];

/// What reconstructions are judged by.
pub(crate) struct Objective {
    perceptual: Option<Perceptual>,
    adversarial: Option<AdversarialLoss>,
    train: TrainOptions,
    seed: u64,
    /// By the number of the batch, those of the current step: threads finish in any order.
    passes: Mutex<Vec<(u64, Passes)>>,
}

/// The loss of a reconstruction and what to log of it.
struct Judged {
    total: Tensor<1>,
    parts: Vec<(&'static str, Tensor<1>)>,
}

impl Objective {
    /// Loss and gradients of a batch. From its start on, the discriminator takes part.
    pub(crate) fn gradients<A: Module>(
        &self,
        model: &Adversarial<A>,
        batch: Reconstruction<'_>,
    ) -> (Loss, GradientsParams) {
        let step = self.train.step_of(batch.number);
        match (&model.discriminator, &self.adversarial) {
            (Some(discriminator), Some(loss)) if step >= loss.start_steps => {
                self.with_discriminator(model, discriminator, loss, batch)
            }
            _ => self.without_discriminator(model, batch),
        }
    }

    fn frames(&self, batch: &Reconstruction<'_>) -> Frames {
        let [n, ..] = batch.target.dims();
        Frames::draw(self.seed, batch.number, n / batch.frames, batch.frames)
    }

    /// The loss of the reconstructions `images`.
    fn judge(&self, images: Tensor<4>, batch: &Reconstruction<'_>, frames: &Frames) -> Judged {
        let error = (batch.error)(images.clone() - batch.target.clone());
        let mut judged = Judged {
            total: error.total,
            parts: vec![("mse", error.l2)],
        };
        if let Some(Perceptual {
            lpips,
            weight,
            frames: count,
        }) = &self.perceptual
        {
            let [images, target] =
                [images, batch.target.clone()].map(|all| frames.choose(all, *count));
            let distance = lpips.distance(images, target).mean();
            judged.total = judged.total + distance.clone() * *weight;
            judged.parts.push(("perceptual", distance.detach()));
        }
        judged
    }

    fn without_discriminator<A: Module>(
        &self,
        model: &Adversarial<A>,
        batch: Reconstruction<'_>,
    ) -> (Loss, GradientsParams) {
        let frames = self.frames(&batch);
        let judged = self.judge(batch.images.clone(), &batch, &frames);
        let mut parts = judged.parts;
        parts.extend(batch.parts);
        let loss = Loss {
            total: sum(judged.total, batch.terms),
            parts,
            examples: batch.examples,
        };
        loss.gradients(model)
    }

    fn with_discriminator<A: Module>(
        &self,
        model: &Adversarial<A>,
        discriminator: &PatchDiscriminator,
        loss: &AdversarialLoss,
        batch: Reconstruction<'_>,
    ) -> (Loss, GradientsParams) {
        let frames = self.frames(&batch);
        let fake = batch.images.clone().inner();
        let leaf = Tensor::from_inner(fake.clone()).require_grad();
        let judged = self.judge(leaf.clone(), &batch, &frames);
        let judged_gradient = gradient_of(&leaf, &judged.total.backward());
        let choose = |images| frames.choose(images, loss.frames);
        let generated = generate(discriminator, fake.clone(), choose);
        let adaptive = if loss.adaptive {
            let norm = |gradient: &Tensor<4>| (batch.last_layer)(gradient.clone());
            adaptive_weight(norm(&judged_gradient), norm(&generated.gradient))
        } else {
            Tensor::ones([1], &fake.device())
        };
        let weight = adaptive.clone() * loss.weight;

        let pull = generated.gradient * weight.clone().reshape([1, 1, 1, 1]);
        let pull = Tensor::from_inner(judged_gradient + pull);
        let terms = batch.terms.iter().map(|term| term.clone().inner());
        let total = sum(judged.total.inner(), terms) + generated.loss.clone() * weight;
        let surrogate = sum((batch.images * pull).sum(), batch.terms);
        let mut gradients = GradientsParams::from_grads(surrogate.backward(), model);

        let both = [batch.target.inner(), fake].map(choose);
        let judgement = discriminate(discriminator, loss.loss, both);
        add_gradients(discriminator, judgement.gradients, &mut gradients);
        let [real, fake] = judgement.statistics;
        self.remember(batch.number, [generated.statistics, real, fake]);

        let [logits_real, logits_fake] = judgement.logits;
        let mut parts = judged.parts;
        parts.extend(batch.parts);
        parts.extend([
            ("generator", generated.loss),
            ("discriminator", judgement.loss),
            ("adaptive", adaptive),
            ("logits_real", logits_real),
            ("logits_fake", logits_fake),
        ]);
        let loss = Loss {
            total,
            parts,
            examples: batch.examples,
        };
        (loss.detached(), gradients)
    }

    fn remember(&self, number: u64, passes: Passes) {
        let mut all = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((number, passes));
    }

    /// Puts the statistics of the step into the discriminator's norms.
    pub(crate) fn after_step<A: Module>(&self, mut model: Adversarial<A>) -> Adversarial<A> {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        passes.sort_by_key(|(number, _)| *number);
        for (_, passes) in passes.drain(..) {
            let updated = |discriminator: PatchDiscriminator| {
                let passes = passes.iter();
                passes.fold(discriminator, |network, pass| network.updated(pass))
            };
            model.discriminator = model.discriminator.map(updated);
        }
        model
    }

    /// The discriminator, as the engine sees it.
    pub(crate) fn apart(&self) -> Option<Apart> {
        self.adversarial.as_ref().map(|loss| Apart {
            field: DISCRIMINATOR,
            rate: loss.learning_rate_factor,
        })
    }
}

/// `first` and all `terms`, in this order.
fn sum(first: Tensor<1>, terms: impl IntoIterator<Item = Tensor<1>>) -> Tensor<1> {
    terms.into_iter().fold(first, |total, term| total + term)
}
