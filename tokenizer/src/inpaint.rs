//! Zero-shot inpainting: generating a part of an image and keeping the rest.
//!
//! At every scale the codes of the kept part are not sampled but taken from the image (VAR, arXiv 2404.02905, section
//! 5.3). The reference takes the image's own codes. Here they are the codes of what is missing from the running feature
//! map, `quantise(down(f - f_{k-1}))`. Where nothing was sampled, they are the same; where a sampled coarse token crosses
//! the border of the mask, finer scales compensate for it.

use burn::tensor::{Bool, Tensor};

use crate::pyramid::{Pyramid, Refine};
use crate::quantizer::{Codes, Quantizer};
use crate::resize::{Resize, resize};
use crate::schedule::Scale;

/// An image and the part of it that is kept.
#[derive(Debug, Clone)]
pub struct InpaintMask {
    latent: Tensor<5>,
    kept: Tensor<5>,
}

impl InpaintMask {
    /// # Shapes
    /// `latent` is the latent of the image, `[b or 1, c, t, h, w]` at the schedule's last scale. `kept` is
    /// `[b or 1, 1, t', h', w']` of any size, 1 where the image is kept and 0 where it is inpainted.
    pub fn new(latent: Tensor<5>, kept: Tensor<5>) -> Self {
        let latent = latent.detach();
        Self { latent, kept }
    }

    /// Where the codes of a scale are the image's, `[b or 1, 1, t, h, w]`: cells of which more than half is kept.
    pub fn mask(&self, scale: Scale) -> Tensor<5, Bool> {
        resize(self.kept.clone(), scale, Resize::Area).greater_scalar(0.5)
    }

    /// The codes that bring the running sum `[b, c, t, h, w]` (none before the first scale) closest to the image.
    pub fn wanted<Q: Quantizer + ?Sized, R: Refine + ?Sized>(
        &self,
        pyramid: &Pyramid<'_, Q, R>,
        sum: Option<&Tensor<5>>,
        scale: Scale,
    ) -> Codes {
        let left = match sum {
            Some(sum) => self.latent.clone().expand(sum.dims()) - sum.clone(),
            None => self.latent.clone(),
        };
        let cells = resize(left, scale, pyramid.down);
        pyramid.quantizer.quantize(cells)
    }

    /// `sampled` with the image's codes in the kept part.
    pub fn merge<Q: Quantizer + ?Sized, R: Refine + ?Sized>(
        &self,
        pyramid: &Pyramid<'_, Q, R>,
        sum: Option<&Tensor<5>>,
        sampled: Codes,
    ) -> Codes {
        let scale = sampled.scale();
        let mask = self.mask(scale);
        match (sampled, self.wanted(pyramid, sum, scale)) {
            (Codes::Indices(sampled), Codes::Indices(wanted)) => {
                let shape = sampled.dims();
                let mask = mask.squeeze_dim::<4>(1).expand(shape);
                Codes::Indices(sampled.mask_where(mask, wanted.expand(shape)))
            }
            (Codes::Bits(sampled), Codes::Bits(wanted)) => {
                let shape = sampled.dims();
                Codes::Bits(sampled.mask_where(mask.expand(shape), wanted.expand(shape)))
            }
            _ => panic!("the sampled codes and the quantiser's are not of the same kind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phi::Phi;
    use crate::schedule::ScaleSchedule;
    use crate::vq::Codebook;
    use burn::tensor::{Device, TensorData};

    /// The same numbers around 0 on every run.
    fn numbers<const D: usize>(shape: [usize; D], size: f32) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let wave = |i: usize| size * ((i as f32 + 1.0) * 12.9898).sin() * 1.6;
        let data = TensorData::new((0..count).map(wave).collect::<Vec<_>>(), shape);
        Tensor::from_data(data, &Device::flex())
    }

    /// The recurrence of generation with made-up samples.
    fn generate(
        keep: &InpaintMask,
        merges: bool,
    ) -> (Vec<Codes>, Tensor<5>, crate::pyramid::Encoded) {
        let device = Device::flex();
        let codebook = Codebook {
            embedding: burn::module::Param::from_tensor(numbers([64, 3], 0.5)),
        };
        let phi = Phi::init(1, 3, 0.0, &device);
        let pyramid = Pyramid {
            quantizer: &codebook,
            refine: &phi,
            up: Resize::Bicubic,
            down: Resize::Area,
            input_down: Resize::Area,
        };
        let schedule = ScaleSchedule::square(&[1, 2, 4, 8]).unwrap();
        let alone = pyramid.encode(keep.latent.clone(), &schedule);
        let (mut codes, mut sum) = (Vec::new(), None);
        for (k, &Scale { t, h, w }) in schedule.scales().iter().enumerate() {
            let sampled = Codes::Indices(Tensor::zeros([1, t, h, w], &device));
            let merged = if merges {
                keep.merge(&pyramid, sum.as_ref(), sampled)
            } else {
                sampled
            };
            sum = Some(pyramid.accumulate(sum, &merged, k, &schedule));
            codes.push(merged);
        }
        (codes, sum.unwrap(), alone)
    }

    fn latent() -> Tensor<5> {
        numbers([1, 3, 1, 8, 8], 1.0)
    }

    #[test]
    fn an_image_that_stays_whole_has_its_own_codes() {
        let kept = Tensor::ones([1, 1, 1, 4, 4], &Device::flex());
        let (codes, sum, alone) = generate(&InpaintMask::new(latent(), kept), true);
        for (ours, own) in codes.into_iter().zip(alone.codes) {
            let (ours, own) = (ours.indices().unwrap(), own.indices().unwrap());
            ours.into_data().assert_eq(&own.into_data(), true);
        }
        sum.into_data().assert_eq(&alone.sum.into_data(), true);
    }

    #[test]
    fn the_part_that_stays_is_nearer_to_the_image_than_the_rest() {
        let device = Device::flex();
        let right = Tensor::<1>::from_floats([0.0, 0.0, 1.0, 1.0], &device);
        let kept = right.reshape([1, 1, 1, 1, 4]).expand([1, 1, 1, 4, 4]);
        let keep = InpaintMask::new(latent(), kept);
        let (codes, sum, alone) = generate(&keep, true);
        // The left half of the last scale is as it was sampled.
        let last = codes[3].clone().indices().unwrap();
        let left: i64 = last.slice_dim(3, 0..4).sum().into_scalar();
        assert_eq!(left, 0);
        let error = |sum: &Tensor<5>, side: std::ops::Range<usize>| -> f32 {
            let off = sum.clone() - keep.latent.clone();
            off.slice_dim(4, side).square().mean().into_scalar()
        };
        // Except for one column next to the border, the right half is as close as the image's own codes bring it.
        let (kept, own) = (error(&sum, 5..8), error(&alone.sum, 5..8));
        assert!(kept < own * 1.5, "{kept} against {own}");
        assert!(error(&sum, 0..4) > 2.0 * kept);
    }
}
