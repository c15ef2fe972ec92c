//! The discriminator compared with LlamaGen's code (commit ce98ec4) on random weights and images of 40 pixels.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use nextscale_tokenizer::conv::{convolve, nearest_up};
use nextscale_weights::WeightFile;

use crate::tokenizer::adversarial::config::{AdversarialLoss, DiscriminatorLoss};
use crate::tokenizer::adversarial::discriminator::{PatchDiscriminator, grids};
use crate::tokenizer::adversarial::losses::{adaptive_weight, discriminate, generate, gradient_of};
use crate::tokenizer::objective::gradient_norm;

/// The tensors of the fixture.
struct Fixture(BTreeMap<String, TensorData>);

impl Fixture {
    fn open() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let file = WeightFile::open(&folder.join("discriminator.safetensors")).unwrap();
        let names: Vec<String> = file.names().map(str::to_owned).collect();
        let read = |name: String| {
            let data = file.read(&name).unwrap();
            (name, data)
        };
        Self(names.into_iter().map(read).collect())
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        Tensor::from_data(self.0[name].clone(), &Device::flex())
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.0[name].iter().collect()
    }

    fn set<const D: usize>(&self, param: &mut Param<Tensor<D>>, name: &str) {
        let value = Tensor::from_inner(self.tensor(&format!("state.main.{name}")));
        let held = param.clone();
        *param = held.map(|old| value.set_require_grad(old.is_require_grad()));
    }

    /// The discriminator of the fixture at its start.
    fn discriminator(&self) -> PatchDiscriminator {
        let config = AdversarialLoss {
            channels: 8,
            ..AdversarialLoss::default()
        };
        let mut network = PatchDiscriminator::init(&config, &Device::flex().autodiff());
        self.set(&mut network.first.weight, "0.weight");
        self.set(&mut network.first.bias, "0.bias");
        for (layer, at) in network.middle.iter_mut().zip([2, 5, 8]) {
            self.set(&mut layer.weight, &format!("{at}.weight"));
            let norm = at + 1;
            self.set(&mut layer.norm.gamma, &format!("{norm}.weight"));
            self.set(&mut layer.norm.beta, &format!("{norm}.bias"));
            self.set(&mut layer.norm.mean, &format!("{norm}.running_mean"));
            self.set(&mut layer.norm.variance, &format!("{norm}.running_var"));
        }
        self.set(&mut network.last.weight, "11.weight");
        self.set(&mut network.last.bias, "11.bias");
        network
    }
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter().collect()
}

/// Fails unless two lists of numbers are equal up to `most`.
fn near(ours: &[f32], theirs: &[f32], most: f32, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let pairs = ours.iter().zip(theirs);
    let off = pairs.fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    assert!(off <= most, "{what} is off by {off:e}");
}

#[test]
fn logits_losses_and_gradients_are_the_references() {
    let fixture = Fixture::open();
    let network = fixture.discriminator();
    let [real, fake] = ["real", "fake"].map(|name| fixture.tensor::<4>(name));
    for (name, images) in [("logits_real", &real), ("logits_fake", &fake)] {
        let judged = network.forward(Tensor::from_inner(images.clone()));
        near(&numbers(judged.logits), &fixture.numbers(name), 1e-5, name);
    }
    for (loss, name) in [
        (DiscriminatorLoss::Hinge, "d_loss"),
        (DiscriminatorLoss::Vanilla, "d_loss_vanilla"),
    ] {
        let step = discriminate(&network, loss, [real.clone(), fake.clone()]);
        near(&numbers(step.loss), &fixture.numbers(name), 1e-6, name);
        if loss == DiscriminatorLoss::Hinge {
            hinge_gradients(&fixture, &network, &step.gradients);
        }
        let mut updated = network.clone();
        for statistics in &step.statistics {
            updated = updated.updated(statistics);
        }
        running_statistics(&fixture, &updated);
    }
    let generated = generate(&network, fake, |images| images);
    near(
        &numbers(generated.loss),
        &fixture.numbers("g_loss"),
        1e-6,
        "g_loss",
    );
    near(
        &numbers(generated.gradient),
        &fixture.numbers("g_loss_gradient_fake"),
        1e-7,
        "g_loss_gradient_fake",
    );
}

fn hinge_gradients(fixture: &Fixture, network: &PatchDiscriminator, of: &GradientsParams) {
    let first = of.get::<4>(network.first.weight.id).unwrap();
    let norm = of.get::<1>(network.middle[1].norm.gamma.id).unwrap();
    for (ours, name) in [
        (numbers(first), "gradient.main.0.weight"),
        (numbers(norm), "gradient.main.6.weight"),
    ] {
        near(&ours, &fixture.numbers(name), 1e-5, name);
    }
    assert!(of.get::<1>(network.middle[1].norm.mean.id).is_none());
}

fn running_statistics(fixture: &Fixture, network: &PatchDiscriminator) {
    for (layer, at) in network.middle.iter().zip([3, 6, 9]) {
        let norm = &layer.norm;
        for (ours, name) in [
            (&norm.mean, "running_mean"),
            (&norm.variance, "running_var"),
        ] {
            assert!(!ours.val().is_require_grad());
            let name = format!("after.main.{at}.{name}");
            near(&numbers(ours.val()), &fixture.numbers(&name), 1e-5, &name);
        }
    }
}

/// In evaluation the running statistics take the place of those of the batch.
#[test]
fn running_statistics_evaluate_as_the_references() {
    let fixture = Fixture::open();
    let network = fixture.discriminator().valid();
    let mut x = fixture.tensor::<4>("real");
    let conv =
        |x: Tensor<4>, weight: &Param<Tensor<4>>, bias: Option<&Param<Tensor<1>>>, stride| {
            let [to, ..] = weight.dims();
            let none = || Tensor::zeros([to], &Device::flex());
            let bias = bias.map_or_else(none, |bias| bias.val());
            nextscale_tokenizer::conv::convolve_padded(x, weight.val(), bias, stride, 1)
        };
    let leaky = |x: Tensor<4>| burn::tensor::activation::leaky_relu(x, 0.2);
    x = leaky(conv(x, &network.first.weight, Some(&network.first.bias), 2));
    for (layer, stride) in network.middle.iter().zip([2, 2, 1]) {
        let y = conv(x, &layer.weight, None, stride);
        let along = |values: &Param<Tensor<1>>| {
            let values = values.val();
            let [c] = values.dims();
            values.reshape([1, c, 1, 1])
        };
        let norm = &layer.norm;
        let normed = (y - along(&norm.mean)) / (along(&norm.variance) + 1e-5).sqrt();
        x = leaky(normed * along(&norm.gamma) + along(&norm.beta));
    }
    let logits = conv(x, &network.last.weight, Some(&network.last.bias), 1);
    near(
        &numbers(logits),
        &fixture.numbers("logits_real_eval"),
        1e-5,
        "logits_real_eval",
    );
}

/// The decoder of the fixture: convolution, ReLU, twice the sides, convolution.
#[test]
fn adaptive_weights_are_the_references() {
    let fixture = Fixture::open();
    let network = fixture.discriminator();
    let layer = |name: &str| {
        let weight = Tensor::from_inner(fixture.tensor::<4>(&format!("decoder.{name}.weight")));
        let bias = Tensor::from_inner(fixture.tensor::<1>(&format!("decoder.{name}.bias")));
        (Param::from_tensor(weight), bias)
    };
    let ((first, first_bias), (last, last_bias)) = (layer("0"), layer("3"));
    let z = Tensor::from_inner(fixture.tensor::<4>("z"));
    let features = nearest_up(relu(convolve(z, first.val(), first_bias))).detach();
    let pixels = || convolve(features.clone(), last.val(), last_bias.clone());
    let norm = |gradient: Tensor<4>| gradient_norm(pixels(), gradient, &last);

    let decoded = pixels().inner();
    let generated = generate(&network, decoded.clone(), |images| images);
    let loss = numbers(generated.loss);
    near(
        &loss,
        &fixture.numbers("g_loss_decoded"),
        1e-6,
        "g_loss_decoded",
    );
    let real = Tensor::from_inner(fixture.tensor::<4>("real"));
    let gradient = |squared: bool| {
        let leaf = Tensor::from_inner(decoded.clone()).require_grad();
        let error = leaf.clone() - real.clone();
        let error = if squared { error.square() } else { error.abs() };
        gradient_of(&leaf, &error.mean().backward())
    };
    let (l1, l2, g) = (gradient(false), gradient(true), generated.gradient);
    for (rec, gen_loss, name, most) in [
        (l1.clone(), g.clone(), "adaptive_l1", 2e-6),
        (l2, g.clone(), "adaptive_l2", 2e-6),
        (l1.clone(), g.clone() * 1e-3, "adaptive_l1_small_g", 2e-3),
        (l1 * 1e6, g * 1e-3, "adaptive_l1_clamped", 0.0),
    ] {
        let weight = adaptive_weight(norm(rec), norm(gen_loss));
        near(&numbers(weight), &fixture.numbers(name), most, name);
    }
}

#[test]
fn sides_and_weights_at_the_start() {
    assert_eq!(grids(256, 3), [128, 64, 32, 31, 30]);
    assert_eq!(grids(64, 3).last(), Some(&6));
    assert_eq!(grids(32, 3).last(), Some(&2));
    assert_eq!(grids(16, 3).last(), Some(&0));
    let network = PatchDiscriminator::init(&AdversarialLoss::default(), &Device::flex());
    let widths: Vec<_> = network.middle.iter().map(|l| l.weight.dims()).collect();
    assert_eq!(
        widths,
        [[128, 64, 4, 4], [256, 128, 4, 4], [512, 256, 4, 4]]
    );
    assert_eq!(network.last.weight.dims(), [1, 512, 4, 4]);
    let deviation = |x: Tensor<4>| x.square().mean().sqrt().into_scalar::<f32>();
    assert!((deviation(network.middle[2].weight.val()) - 0.02).abs() < 1e-4);
    let gamma = network.middle[2].norm.gamma.val();
    assert!((gamma.clone().mean().into_scalar::<f32>() - 1.0).abs() < 5e-3);
    assert!((gamma - 1.0).abs().max().into_scalar::<f32>() > 0.02);
    let bias = network.first.bias.val().abs().max().into_scalar::<f32>();
    assert!(bias > 0.1 && bias <= 1.0 / 48f32.sqrt(), "{bias}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let sound = AdversarialLoss::default();
    sound.check(32).unwrap();
    let refused = |change: fn(&mut AdversarialLoss), size, part: &str| {
        let mut loss = sound.clone();
        change(&mut loss);
        let message = loss.check(size).unwrap_err().to_string();
        assert!(message.contains(part), "{part:?} is not in {message}");
    };
    refused(|_| (), 16, "16 pixels are too small");
    refused(|loss| loss.weight = -1.0, 32, "must not be negative");
    refused(|loss| loss.channels = 0, 32, "at least 1");
    refused(|loss| loss.layers = 40, 32, "too small");
    refused(|loss| loss.frames = 0, 32, "at least 1");
}
