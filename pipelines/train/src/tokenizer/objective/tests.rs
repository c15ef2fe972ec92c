//! The gradients of a step compared with those of the whole loss, computed at once.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_var_core::train::{Budget, Decay, LearningRate, Loss, TrainOptions};
use rand::Rng as _;

use crate::shuffle::rng_for;
use crate::tokenizer::adversarial::{Adversarial, AdversarialLoss};
use crate::tokenizer::objective::reconstruction::{Reconstruction, gradient_norm};
use crate::tokenizer::objective::step::{Objective, Settings};
use crate::tokenizer::reconstruction::ReconstructionError;

const SIDE: usize = 32;

fn options() -> TrainOptions {
    TrainOptions {
        budget: Budget::Steps(10),
        learning_rate: LearningRate {
            peak: 1e-3,
            warmup_steps: 0,
            warmup_start: 0.0,
            decay: Decay::Constant,
            flat: 0.0,
            end: 0.0,
        },
        adamw: Default::default(),
        muon: None,
        average_decay: 0.9,
        log_every: 1,
        evaluate_every: 0,
        checkpoint_minutes: 1e9,
        parallel: 2,
        accumulate: 3,
        shard_optimizer: false,
        keep: 1,
    }
}

/// Random images.
fn images(seed: u64, device: &Device) -> Tensor<4> {
    let mut rng = rng_for(seed, 0);
    let values: Vec<f32> = (0..2 * 3 * SIDE * SIDE)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    Tensor::from_data(TensorData::new(values, [2, 3, SIDE, SIDE]), device)
}

fn pixel_error(error: Tensor<4>) -> ReconstructionError {
    ReconstructionError::new(error, 0.5, 5.0, 0.25)
}

/// A small auto-encoder with a discriminator, and what judges it.
struct Place {
    device: Device,
    objective: Objective,
    model: Adversarial<BsqVae>,
}

impl Place {
    fn new(loss: &AdversarialLoss) -> Self {
        let device = Device::flex().autodiff();
        let settings = Settings {
            perceptual: None,
            adversarial: Some(loss),
            train: options(),
            seed: 5,
        };
        settings.check(SIDE).unwrap();
        let mut config = BsqVaeConfig::new(4, 8, &[1, 2], 1);
        (config.norm_groups, config.pixel_patch) = (Some(4), 2);
        let model = settings.model(config.init(&device), &device);
        Self {
            objective: settings.objective(&device).unwrap(),
            model,
            device,
        }
    }

    /// The latent of a batch, and a part of the loss that depends on it.
    fn latent(&self) -> (Tensor<5>, Tensor<1>) {
        let vae = &self.model.autoencoder;
        let latent = vae.encode(images(1, &self.device));
        let term = latent.clone().square().mean() * 0.1;
        (latent, term)
    }

    fn gradients(&self, number: u64) -> (Loss, GradientsParams) {
        let vae = &self.model.autoencoder;
        let (latent, term) = self.latent();
        let features = vae.features(latent);
        let reconstructed = vae.pixels(features.clone());
        let features = features.detach();
        let batch = Reconstruction {
            number,
            target: images(1, &self.device),
            images: reconstructed,
            frames: 1,
            error: &pixel_error,
            last_layer: &|gradient| {
                let images = vae.pixels(features.clone());
                gradient_norm(images, gradient, &vae.decoder.conv_out.weight)
            },
            terms: vec![term.clone()],
            parts: vec![("term", term.detach())],
            examples: 2,
        };
        self.objective.gradients(&self.model, batch)
    }

    /// Loss and gradients of the auto-encoder, with `weight` times the generator's loss, computed at once.
    fn at_once(&self, weight: f32) -> (f32, GradientsParams) {
        let vae = &self.model.autoencoder;
        let (latent, term) = self.latent();
        let fake = vae.reconstruct(latent);
        let frozen = self.model.discriminator.clone().unwrap().no_grad();
        let generator = frozen.forward(fake.clone()).logits.mean().neg();
        let pixels = pixel_error(fake - images(1, &self.device)).total;
        let total = pixels + term + generator * weight;
        let gradients = GradientsParams::from_grads(total.backward(), vae);
        (number(total), gradients)
    }
}

fn number(x: Tensor<1>) -> f32 {
    x.into_scalar()
}

fn part(loss: &Loss, name: &str) -> f32 {
    let found = loss.parts.iter().find(|(key, _)| *key == name);
    number(found.unwrap_or_else(|| panic!("no {name}")).1.clone())
}

/// The largest difference of two sets of gradients, relative to the largest number of each, and how many there are.
struct Gap<'a> {
    both: [&'a GradientsParams; 2],
    most: f32,
    count: usize,
}

impl ModuleVisitor for Gap<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let [a, b] = self.both.map(|gradients| gradients.get::<D>(param.id));
        let (Some(a), Some(b)) = (&a, &b) else {
            assert_eq!(a.is_some(), b.is_some(), "a gradient is missing");
            return;
        };
        let most = |x: Tensor<D>| x.abs().max().into_scalar::<f32>();
        let size = most(a.clone()).max(1e-6);
        self.most = self.most.max(most(a.clone() - b.clone()) / size);
        self.count += 1;
    }
}

fn gap<M: Module>(module: &M, both: [&GradientsParams; 2]) -> (f32, usize) {
    let (most, count) = (0.0, 0);
    let mut gap = Gap { both, most, count };
    module.visit(&mut gap);
    (gap.most, gap.count)
}

fn adversarial(adaptive: bool) -> AdversarialLoss {
    AdversarialLoss {
        weight: 0.7,
        adaptive,
        start_steps: 1,
        channels: 4,
        layers: 2,
        ..AdversarialLoss::default()
    }
}

#[test]
fn gradients_are_those_of_the_whole_loss() {
    for adaptive in [false, true] {
        let place = Place::new(&adversarial(adaptive));
        let (loss, gradients) = place.gradients(6);
        let factor = part(&loss, "adaptive");
        assert_eq!(factor == 1.0, !adaptive, "{factor}");
        let (total, expected) = place.at_once(0.7 * factor);
        let ours = number(loss.total.clone());
        assert!((ours - total).abs() < 1e-5 * total.abs(), "{ours} {total}");
        let vae = &place.model.autoencoder;
        let (most, count) = gap(vae, [&gradients, &expected]);
        assert!(most < 1e-3 && count > 20, "{most}, {count} gradients");
        assert!(part(&loss, "generator").is_finite());

        // The discriminator's are those of its own loss alone.
        let network = place.model.discriminator.as_ref().unwrap();
        let fake = vae.reconstruct(place.latent().0).detach();
        let [real, fake] = [images(1, &place.device), fake].map(|x| network.forward(x).logits);
        assert!((part(&loss, "logits_real") - number(real.clone().mean())).abs() < 1e-5);
        assert!((part(&loss, "logits_fake") - number(fake.clone().mean())).abs() < 1e-5);
        let hinge = |x: Tensor<4>| (x + 1.0).clamp_min(0.0).mean();
        let own = (hinge(real.neg()) + hinge(fake)) * 0.5;
        assert!((part(&loss, "discriminator") - number(own.clone())).abs() < 1e-5);
        let own = GradientsParams::from_grads(own.backward(), network);
        let (most, count) = gap(network, [&gradients, &own]);
        assert!(most < 1e-3 && count == 10, "{most}, {count} gradients");
    }
}

#[test]
fn before_its_start_the_discriminator_takes_no_part() {
    let place = Place::new(&adversarial(true));
    // Six batches make a step.
    let (loss, gradients) = place.gradients(5);
    let (total, expected) = place.at_once(0.0);
    assert!((number(loss.total.clone()) - total).abs() < 1e-5 * total);
    assert!(loss.parts.iter().all(|(name, _)| *name != "generator"));
    let (most, count) = gap(&place.model.autoencoder, [&gradients, &expected]);
    assert!(most < 1e-3 && count > 20, "{most}, {count} gradients");
    let network = place.model.discriminator.as_ref().unwrap();
    let none = GradientsParams::new();
    assert_eq!(gap(network, [&gradients, &none]).1, 0);
    let moved = place.objective.after_step(place.model.clone());
    assert_eq!(running(&moved), running(&place.model));
}

/// The running means of the first norm.
fn running(model: &Adversarial<BsqVae>) -> Vec<f32> {
    let network = model.discriminator.as_ref().unwrap();
    let mean = network.middle[0].norm.mean.val();
    mean.into_data().iter().collect()
}

#[test]
fn statistics_of_a_step_are_put_in_once_and_in_the_order_of_the_batches() {
    let place = Place::new(&adversarial(false));
    let numbers = |order: [u64; 2]| {
        for number in order {
            place.gradients(number);
        }
        running(&place.objective.after_step(place.model.clone()))
    };
    let moved = numbers([6, 7]);
    assert_ne!(moved, running(&place.model));
    assert_eq!(moved, numbers([7, 6]));
    let again = place.objective.after_step(place.model.clone());
    assert_eq!(running(&again), running(&place.model));
}

#[test]
fn the_average_is_the_auto_encoder_alone() {
    let model = Place::new(&adversarial(true)).model;
    let averaged = model.averaged();
    assert!(averaged.discriminator.is_none());
    assert_eq!(averaged.num_params(), model.autoencoder.num_params());
    assert!(model.num_params() > averaged.num_params());
    // Its names in a checkpoint are those of the auto-encoder.
    let record = averaged.clone().into_owned().into_record();
    let alone = model.autoencoder.clone().into_record();
    assert_eq!(record.len(), alone.len());
    model.autoencoder.clone().try_load_record(record).unwrap();
}
