//! Painting a part of a picture anew: zero-shot editing.
//!
//! At every scale the codes of the part that stays are not drawn but taken from the picture
//! (VAR, arXiv 2404.02905, section 5.3). The reference takes the codes that the picture has on its own. Here they are
//! those of what is still missing from the running feature map, `quantise(down(f - f_{k-1}))`: where nothing was drawn
//! that is the same, and where a coarse token that reaches over the border was drawn, finer scales make up for it.

use burn::tensor::{Bool, Tensor};

use crate::{Codes, Pyramid, Quantizer, Resize, Scale, pyramid::Refine, resize};

/// A picture and the part of it that stays.
#[derive(Debug, Clone)]
pub struct Keep {
    latent: Tensor<5>,
    stays: Tensor<5>,
}

impl Keep {
    /// `latent` is the picture's, `[b or 1, c, t, h, w]` at the schedule's last scale. `stays` is `[b or 1, 1, t', h', w']`
    /// of any size, 1 where the picture stays and 0 where it is painted anew.
    pub fn new(latent: Tensor<5>, stays: Tensor<5>) -> Self {
        let latent = latent.detach();
        Self { latent, stays }
    }

    /// Where a scale's codes are the picture's, `[b or 1, 1, t, h, w]`: cells of which more than half stays.
    pub fn mask(&self, scale: Scale) -> Tensor<5, Bool> {
        resize(self.stays.clone(), scale, Resize::Area).greater_scalar(0.5)
    }

    /// The codes that bring the running sum `[b, c, t, h, w]` (none before the first scale) nearest to the picture.
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

    /// `drawn` with the picture's codes in the part that stays.
    pub fn merge<Q: Quantizer + ?Sized, R: Refine + ?Sized>(
        &self,
        pyramid: &Pyramid<'_, Q, R>,
        sum: Option<&Tensor<5>>,
        drawn: Codes,
    ) -> Codes {
        let scale = drawn.scale();
        let mask = self.mask(scale);
        match (drawn, self.wanted(pyramid, sum, scale)) {
            (Codes::Indices(drawn), Codes::Indices(wanted)) => {
                let shape = drawn.dims();
                let mask = mask.squeeze_dim::<4>(1).expand(shape);
                Codes::Indices(drawn.mask_where(mask, wanted.expand(shape)))
            }
            (Codes::Bits(drawn), Codes::Bits(wanted)) => {
                let shape = drawn.dims();
                Codes::Bits(drawn.mask_where(mask.expand(shape), wanted.expand(shape)))
            }
            _ => panic!("codes of another kind than the quantiser's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ScaleSchedule, phi::Phi, vq::Codebook};
    use burn::tensor::{Device, TensorData};

    /// The same numbers about 0 on every run.
    fn numbers<const D: usize>(shape: [usize; D], size: f32) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let wave = |i: usize| size * ((i as f32 + 1.0) * 12.9898).sin() * 1.6;
        let data = TensorData::new((0..count).map(wave).collect::<Vec<_>>(), shape);
        Tensor::from_data(data, &Device::flex())
    }

    /// Generation's recurrence with made-up draws.
    fn paint(keep: &Keep, stays: bool) -> (Vec<Codes>, Tensor<5>, crate::pyramid::Encoded) {
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
            let drawn = Codes::Indices(Tensor::zeros([1, t, h, w], &device));
            let merged = match stays {
                true => keep.merge(&pyramid, sum.as_ref(), drawn),
                false => drawn,
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
    fn a_picture_that_stays_whole_has_its_own_codes() {
        let stays = Tensor::ones([1, 1, 1, 4, 4], &Device::flex());
        let (codes, sum, alone) = paint(&Keep::new(latent(), stays), true);
        for (ours, own) in codes.into_iter().zip(alone.codes) {
            let (ours, own) = (ours.indices().unwrap(), own.indices().unwrap());
            ours.into_data().assert_eq(&own.into_data(), true);
        }
        sum.into_data().assert_eq(&alone.sum.into_data(), true);
    }

    #[test]
    fn the_part_that_stays_is_nearer_to_the_picture_than_the_rest() {
        let device = Device::flex();
        let right = Tensor::<1>::from_floats([0.0, 0.0, 1.0, 1.0], &device);
        let stays = right.reshape([1, 1, 1, 1, 4]).expand([1, 1, 1, 4, 4]);
        let keep = Keep::new(latent(), stays);
        let (codes, sum, alone) = paint(&keep, true);
        // The left half of the last scale is as it was drawn.
        let last = codes[3].clone().indices().unwrap();
        let left: i64 = last.slice_dim(3, 0..4).sum().into_scalar();
        assert_eq!(left, 0);
        let error = |sum: &Tensor<5>, side: std::ops::Range<usize>| -> f32 {
            let off = sum.clone() - keep.latent.clone();
            off.slice_dim(4, side).square().mean().into_scalar()
        };
        // One column beside the border excepted, the right half is as near as the picture's own codes bring it.
        let (kept, own) = (error(&sum, 5..8), error(&alone.sum, 5..8));
        assert!(kept < own * 1.5, "{kept} against {own}");
        assert!(error(&sum, 0..4) > 2.0 * kept);
    }
}
