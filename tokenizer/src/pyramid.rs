//! The residual recurrence: encoding, decoding, teacher forcing and training share one step.

use burn::tensor::Tensor;

use crate::quantizer::{Codes, Quantizer};
use crate::resize::{Resize, resize};
use crate::schedule::{Scale, ScaleSchedule};

/// Applied to the embedded codes of a scale after upsampling, before they are added to the sum.
pub trait Refine {
    /// Refines `x`, `[b, c, t, h, w]`, of scale `k` out of `scales`. The shape is kept.
    fn refine(&self, x: Tensor<5>, k: usize, scales: usize) -> Tensor<5>;
}

/// No refinement: Infinity adds the resized codes as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Refine for Plain {
    fn refine(&self, x: Tensor<5>, _k: usize, _scales: usize) -> Tensor<5> {
        x
    }
}

/// A residual pyramid: a quantiser, how to resize up and down, and how to refine at full size.
///
/// ```text
/// h_k = refine_k(up(embed(r_k)))    f_k = f_{k-1} + h_k    r_k = quantise(down(f - f_{k-1}))
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Pyramid<'a, Q: ?Sized, R: ?Sized = Plain> {
    /// Cells to codes and codes to vectors.
    pub quantizer: &'a Q,
    /// phi of the papers.
    pub refine: &'a R,
    /// Resizes a scale to full size.
    pub up: Resize,
    /// Resizes the full-size residual to a scale, when encoding.
    pub down: Resize,
    /// Resizes the full-size sum to the next scale, for the transformer's input.
    pub input_down: Resize,
}

/// A latent encoded as codes.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The codes of each scale, coarse to fine: the targets of a transformer.
    pub codes: Vec<Codes>,
    /// The codes that were added to the sum: the same unless a hook of [`Pyramid::encode_with`] replaced them.
    pub used: Vec<Codes>,
    /// The sum of all scales at full size, `[b, c, t, h, w]`: the input of the decoder.
    pub sum: Tensor<5>,
}

impl<'a, Q: Quantizer + ?Sized> Pyramid<'a, Q> {
    /// Infinity's pyramid: area down for the residual, linear up, and linear down for the transformer's input.
    pub fn plain(quantizer: &'a Q) -> Self {
        Self {
            quantizer,
            refine: &Plain,
            up: Resize::Linear,
            down: Resize::Area,
            input_down: Resize::Linear,
        }
    }
}

impl<Q: Quantizer + ?Sized, R: Refine + ?Sized> Pyramid<'_, Q, R> {
    /// What scale `k` adds to the sum: its embedded codes `[b, c, t_k, h_k, w_k]`, resized to full size and refined.
    pub fn step(&self, embedded: Tensor<5>, k: usize, schedule: &ScaleSchedule) -> Tensor<5> {
        let up = resize(embedded, schedule.last(), self.up);
        self.refine.refine(up, k, schedule.len())
    }

    /// Encodes `latent`, `[b, c, t, h, w]` with the size of the schedule's last scale. Not differentiable.
    ///
    /// # Panics
    /// If the latent's size is not the schedule's last scale.
    pub fn encode(&self, latent: Tensor<5>, schedule: &ScaleSchedule) -> Encoded {
        self.encode_with(latent, schedule, |_, codes| codes.clone())
    }

    /// As [`Pyramid::encode`], but `hook` may replace the codes of scale k before they are added, so that later scales
    /// correct the change (Infinity's bitwise self-correction).
    pub fn encode_with(
        &self,
        latent: Tensor<5>,
        schedule: &ScaleSchedule,
        mut hook: impl FnMut(usize, &Codes) -> Codes,
    ) -> Encoded {
        let (mut codes, mut used) = (Vec::new(), Vec::new());
        let sum = self.descend(latent.detach(), schedule, |k, cells| {
            let scale_codes = self.quantizer.quantize(cells);
            let scale_used = hook(k, &scale_codes);
            let embedded = self.quantizer.embed(&scale_used);
            codes.push(scale_codes);
            used.push(scale_used);
            embedded
        });
        Encoded { codes, used, sum }
    }

    /// The recurrence itself: at each scale `quantize(k, cells)` turns the residual's cells `[b, c, t_k, h_k, w_k]` into
    /// vectors of the same shape, which are added to the sum and subtracted from the residual. Returns the sum at full size.
    ///
    /// Differentiable if `quantize` is (a straight-through estimate, for example); the residual itself passes no gradient to
    /// earlier scales, as in the released `MultiScaleBSQ`.
    ///
    /// # Panics
    /// If the latent's size is not the schedule's last scale.
    pub fn descend(
        &self,
        latent: Tensor<5>,
        schedule: &ScaleSchedule,
        quantize: impl FnMut(usize, Tensor<5>) -> Tensor<5>,
    ) -> Tensor<5> {
        self.descend_observed(latent, schedule, quantize, |_| ())
    }

    /// As [`Pyramid::descend`]; `observe` gets the running sum after every scale.
    ///
    /// # Panics
    /// As [`Pyramid::descend`].
    pub fn descend_observed(
        &self,
        latent: Tensor<5>,
        schedule: &ScaleSchedule,
        mut quantize: impl FnMut(usize, Tensor<5>) -> Tensor<5>,
        mut observe: impl FnMut(&Tensor<5>),
    ) -> Tensor<5> {
        let [_, _, t, h, w] = latent.dims();
        assert_eq!(
            Scale::new(t, h, w),
            schedule.last(),
            "the latent's size against the schedule's last scale"
        );
        let mut residual = latent;
        let mut sum: Option<Tensor<5>> = None;
        for (k, &scale) in schedule.scales().iter().enumerate() {
            let cells = resize(residual.clone(), scale, self.down);
            let added = self.step(quantize(k, cells), k, schedule);
            residual = residual - added.clone().detach();
            let now = accumulate(sum, added);
            observe(&now);
            sum = Some(now);
        }
        sum.expect("a schedule has at least one scale")
    }

    /// The sum `[b, c, t, h, w]` at full size of the codes of the first `codes.len()` scales, which may be fewer than
    /// the schedule has.
    ///
    /// # Panics
    /// If there are no codes, or more codes than scales.
    pub fn decode(&self, codes: &[Codes], schedule: &ScaleSchedule) -> Tensor<5> {
        assert!(
            codes.len() <= schedule.len(),
            "{} scales of codes for a schedule of {}",
            codes.len(),
            schedule.len()
        );
        let mut sum = None;
        for (k, codes) in codes.iter().enumerate() {
            sum = Some(self.accumulate(sum, codes, k, schedule));
        }
        sum.expect("at least one scale of codes")
    }

    /// Adds the codes of scale `k` to the running sum `[b, c, t, h, w]` (none before scale 0).
    pub fn accumulate(
        &self,
        sum: Option<Tensor<5>>,
        codes: &Codes,
        k: usize,
        schedule: &ScaleSchedule,
    ) -> Tensor<5> {
        self.accumulate_embedded(sum, self.quantizer.embed(codes), k, schedule)
    }

    /// As [`Pyramid::accumulate`], from the embedded codes `[b, c, t_k, h_k, w_k]`.
    pub fn accumulate_embedded(
        &self,
        sum: Option<Tensor<5>>,
        embedded: Tensor<5>,
        k: usize,
        schedule: &ScaleSchedule,
    ) -> Tensor<5> {
        accumulate(sum, self.step(embedded, k, schedule))
    }

    /// The transformer's input at a scale: the running sum of the scales before it, resized to its grid.
    pub fn input(&self, sum: Tensor<5>, scale: Scale) -> Tensor<5> {
        resize(sum, scale, self.input_down)
    }

    /// Teacher forcing: the inputs of scales 1, 2, .. `[b, c, t_k, h_k, w_k]`, given the codes of the scales before them.
    pub fn inputs(&self, codes: &[Codes], schedule: &ScaleSchedule) -> Vec<Tensor<5>> {
        let mut sum = None;
        let following = schedule.scales().iter().skip(1);
        let mut inputs = Vec::new();
        for ((k, codes), &next) in codes.iter().enumerate().zip(following) {
            let now = self.accumulate(sum, codes, k, schedule);
            inputs.push(self.input(now.clone(), next));
            sum = Some(now);
        }
        inputs
    }
}

fn accumulate(sum: Option<Tensor<5>>, added: Tensor<5>) -> Tensor<5> {
    match sum {
        Some(sum) => sum + added,
        None => added,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    /// Scaled signs: the smallest quantiser that shows the recurrence.
    struct Signs;

    impl Quantizer for Signs {
        fn dim(&self) -> usize {
            2
        }

        fn quantize(&self, x: Tensor<5>) -> Codes {
            Codes::Bits(x.greater_elem(0.0).int())
        }

        fn embed(&self, codes: &Codes) -> Tensor<5> {
            let Codes::Bits(bits) = codes else {
                panic!("bits expected")
            };
            bits.clone().float() * 0.5 - 0.25
        }
    }

    fn distance(a: &Tensor<5>, b: &Tensor<5>) -> f32 {
        (a.clone() - b.clone()).abs().max().into_scalar()
    }

    #[test]
    fn decoding_repeats_the_encoders_sum() {
        let device = Device::flex();
        let schedule = ScaleSchedule::square(&[1, 2, 3, 6]).unwrap();
        let latent = Tensor::random([2, 2, 1, 6, 6], Distribution::Default, &device);
        let pyramid = Pyramid::plain(&Signs);
        let encoded = pyramid.encode(latent, &schedule);
        assert!(distance(&pyramid.decode(&encoded.codes, &schedule), &encoded.sum) < 1e-6);
        assert_eq!(
            encoded.codes.iter().map(Codes::scale).collect::<Vec<_>>(),
            schedule.scales()
        );
    }

    #[test]
    fn inputs_are_the_sums_before() {
        let device = Device::flex();
        let schedule = ScaleSchedule::square(&[1, 2, 4]).unwrap();
        let latent = Tensor::random([1, 2, 1, 4, 4], Distribution::Default, &device);
        let pyramid = Pyramid::plain(&Signs);
        let codes = pyramid.encode(latent, &schedule).codes;
        let inputs = pyramid.inputs(&codes, &schedule);
        assert_eq!(inputs.len(), 2);
        let sum = pyramid.decode(&codes[..2], &schedule);
        assert!(distance(&inputs[1], &sum) < 1e-6);
        let sum = pyramid.decode(&codes[..1], &schedule);
        let input = resize(sum, Scale::image(2, 2), Resize::Linear);
        assert!(distance(&inputs[0], &input) < 1e-6);
    }

    #[test]
    fn later_scales_see_what_the_hook_changed() {
        let device = Device::flex();
        let schedule = ScaleSchedule::square(&[1, 1]).unwrap();
        let latent = Tensor::<5>::full([1, 2, 1, 1, 1], 0.1, &device);
        let flip = |k: usize, codes: &Codes| match codes {
            Codes::Bits(bits) if k == 0 => Codes::Bits(bits.clone().mul_scalar(-1).add_scalar(1)),
            other => other.clone(),
        };
        let pyramid = Pyramid::plain(&Signs);
        let clean = pyramid.encode(latent.clone(), &schedule);
        let noisy = pyramid.encode_with(latent, &schedule, flip);
        let second = |e: &Encoded| {
            let bits = e.codes[1].clone().bits().unwrap();
            bits.sum().into_scalar::<i64>()
        };
        assert_eq!(second(&clean), 0); // 0.1 - 0.25 < 0
        assert_eq!(second(&noisy), 2); // 0.1 + 0.25 > 0
    }
}
