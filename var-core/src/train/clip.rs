//! Clipping of gradients by their global norm, of each network on its own.

use std::marker::PhantomData;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::passes::{scaled, sum_of_squares};

/// Scales all gradients so that their global 2-norm is at most `max_norm`, and returns the norm before clipping. With
/// `max_norm` 0 or a norm that is not finite, nothing is scaled.
pub fn clip_by_global_norm<M: Module>(
    model: &M,
    gradients: GradientsParams,
    max_norm: f32,
) -> (GradientsParams, f32) {
    let (gradients, [norm, _]) = clip_apart(model, gradients, max_norm, None);
    (gradients, norm)
}

/// As [`clip_by_global_norm`], but the gradients of the field `apart` of `model` are clipped on their own. Returns the norm of the
/// rest and that of the field, 0 where there is no gradient.
pub(super) fn clip_apart<M: Module>(
    model: &M,
    gradients: GradientsParams,
    max_norm: f32,
    apart: Option<&str>,
) -> (GradientsParams, [f32; 2]) {
    let mut squares = Squares {
        field: Field::new(apart),
        gradients: &gradients,
        sums: [Vec::new(), Vec::new()],
    };
    model.visit(&mut squares);
    let norms = squares.sums.map(norm);
    let factors = norms.map(|norm| {
        let fits = max_norm <= 0.0 || !norm.is_finite() || norm <= max_norm;
        if fits { 1.0 } else { max_norm / norm }
    });
    if factors == [1.0; 2] {
        return (gradients, norms);
    }
    let mut scaled = Scale {
        field: Field::new(apart),
        from: gradients,
        to: GradientsParams::new(),
        factors,
        model: PhantomData::<M>,
    };
    model.visit(&mut scaled);
    (scaled.to, norms)
}

/// The root of the sum of these sums of squares.
fn norm(sums: Vec<Tensor<1>>) -> f32 {
    if sums.is_empty() {
        return 0.0;
    }
    Tensor::cat(sums, 0).sum().sqrt().into_scalar::<f32>()
}

/// Where a visitor is: inside the field `name` of the module or not.
struct Field<'a> {
    name: Option<&'a str>,
    depth: usize,
    inside: bool,
}

impl<'a> Field<'a> {
    fn new(name: Option<&'a str>) -> Self {
        Self {
            name,
            depth: 0,
            inside: false,
        }
    }

    fn enter(&mut self, name: &str) {
        if self.depth == 0 {
            self.inside = self.name == Some(name);
        }
        self.depth += 1;
    }

    fn exit(&mut self) {
        self.depth -= 1;
        self.inside &= self.depth > 0;
    }
}

struct Squares<'a> {
    field: Field<'a>,
    gradients: &'a GradientsParams,
    sums: [Vec<Tensor<1>>; 2],
}

impl ModuleVisitor for Squares<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.field.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.field.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sums[usize::from(self.field.inside)].push(sum_of_squares(&gradient));
        }
    }
}

struct Scale<'a, M> {
    field: Field<'a>,
    from: GradientsParams,
    to: GradientsParams,
    factors: [f32; 2],
    model: PhantomData<M>,
}

impl<M> ModuleVisitor for Scale<'_, M> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.field.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.field.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.from.remove::<D>(param.id) else {
            return;
        };
        let scaled = match self.factors[usize::from(self.field.inside)] {
            1.0 => gradient,
            factor => scaled(gradient, factor),
        };
        self.to.register(param.id, scaled);
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;
    use crate::train::optimizer::{AdamW, AdamWConfig};

    #[derive(Module, Debug)]
    struct Two {
        large: Linear,
        small: Linear,
    }

    fn two() -> Two {
        let device = Device::flex().autodiff();
        let layer = || LinearConfig::new(3, 2).init(&device);
        Two {
            large: layer(),
            small: layer(),
        }
    }

    /// Gradients of 30 and 0.3 for every weight and bias.
    fn gradients(model: &Two) -> GradientsParams {
        let device = Device::flex().autodiff();
        let x = || Tensor::<2>::ones([1, 3], &device);
        let large = model.large.forward(x()).sum() * 30.0;
        let total = large + model.small.forward(x()).sum() * 0.3;
        GradientsParams::from_grads(total.backward(), model)
    }

    fn first(gradients: &GradientsParams, layer: &Linear) -> f32 {
        let gradient = gradients.get::<2>(layer.weight.id).unwrap();
        gradient.abs().max().into_scalar()
    }

    #[test]
    fn a_field_is_clipped_on_its_own() {
        let model = two();
        let [large, small] = [30.0, 0.3].map(|one: f32| one * 8f32.sqrt());
        let near = |a: f32, b: f32| (a - b).abs() < 1e-4 * b;
        // The small one fits, and is not touched by the large one.
        let (cut, norms) = clip_apart(&model, gradients(&model), 1.0, Some("small"));
        assert!(near(norms[0], large) && near(norms[1], small), "{norms:?}");
        assert!(near(first(&cut, &model.large), 30.0 / large));
        assert!(near(first(&cut, &model.small), 0.3));
        // Both are cut, each by its own norm.
        let (cut, _) = clip_apart(&model, gradients(&model), 0.5, Some("small"));
        assert!(near(first(&cut, &model.small), 0.15 / small));
        // Together they are one.
        let (cut, norm) = clip_by_global_norm(&model, gradients(&model), 1.0);
        assert!(near(norm, (large * large + small * small).sqrt()), "{norm}");
        assert!(near(first(&cut, &model.small), 0.3 / norm));
        let (whole, norms) = clip_apart(&model, gradients(&model), 0.0, Some("none"));
        assert_eq!(norms[1], 0.0);
        assert!(near(first(&whole, &model.large), 30.0));
    }

    /// The first step of AdamW is as long as the learning rate, whatever the gradient.
    #[test]
    fn a_field_learns_at_its_own_rate() {
        let model = two();
        let config = AdamWConfig {
            weight_decay: 0.5,
            ..AdamWConfig::default()
        };
        let optimizer = AdamW::new(&config, &model, &[]);
        let mut optimizer = optimizer.with_rate(&model, "small", 0.1, &[]);
        let gradients = gradients(&model);
        let (before, after) = (
            model.valid(),
            optimizer.step(0.01, 0.0, model, gradients).valid(),
        );
        for (before, after, rate) in [
            (&before.large, &after.large, 0.01),
            (&before.small, &after.small, 0.001),
        ] {
            let off = |x: Tensor<1>| x.abs().max().into_scalar::<f32>();
            let kept = before.weight.val() * (1.0 - 0.5 * rate) - rate;
            assert!(off((after.weight.val() - kept).reshape([6])) < 1e-5);
            let bias = |layer: &Linear| layer.bias.as_ref().unwrap().val();
            assert!(off(bias(after) - (bias(before) - rate)) < 1e-5);
        }
    }
}
