//! Exact decoding of large images in strips.
//!
//! The finest level of the decoder has the largest feature maps: several of them, with 128 channels per pixel. Here none is
//! held in full: each strip of rows goes from the next coarser level to pixels, with as many extra rows as the convolutions
//! reach. Only the group norms couple the strips, since their means and deviations are those of the whole map. These are
//! measured first, one norm after the other, each by a pass over all strips up to that norm. The result is the same as
//! without strips, at the cost of more arithmetic.

use burn::tensor::Tensor;
use nextscale_tokenizer::conv::{GroupNorm, Moments};

use super::decoder::Decoder;

/// Rows that the convolutions reach beyond a strip: one per 3 x 3 convolution, rounded up to whole cells of the coarser level.
fn reach(blocks: usize) -> usize {
    (2 * blocks + 2).next_multiple_of(2)
}

impl Decoder {
    /// [`Decoder::forward`] with the finest level in strips of `rows` rows of the result, rounded up to an even number.
    ///
    /// # Panics
    /// If `rows` is 0.
    pub fn forward_strips(&self, x: Tensor<4>, rows: usize) -> Tensor<4> {
        assert!(rows > 0, "a strip needs at least one row");
        let coarse = self.coarse(x);
        let [_, _, h, _] = coarse.dims();
        let factor = if self.finest().upsample_before.is_some() {
            2
        } else {
            1
        };
        let (height, rows) = (h * factor, rows.next_multiple_of(2));
        let strips = || {
            (0..height)
                .step_by(rows)
                .map(move |a| (a, (a + rows).min(height)))
        };
        let norms = self.finest().norms().count();
        let mut known: Vec<Moments> = Vec::with_capacity(norms);
        while known.len() < norms {
            let norm = self.finest().norms().nth(known.len());
            let groups = norm.map_or(1, |norm| norm.groups);
            let mut all = Moments::empty();
            for (a, b) in strips() {
                all.add(&self.strip(&coarse, a, b, &known), groups);
            }
            known.push(all);
        }
        let strips = strips().map(|(a, b)| self.strip(&coarse, a, b, &known));
        Tensor::cat(strips.collect(), 2)
    }

    /// Rows `a` to `b` of the input of the first norm whose moments are not `known`, or of the pixels if all are.
    fn strip(&self, coarse: &Tensor<4>, a: usize, b: usize, known: &[Moments]) -> Tensor<4> {
        let finest = self.finest();
        let [_, _, h, _] = coarse.dims();
        let factor = if finest.upsample_before.is_some() {
            2
        } else {
            1
        };
        let reach = reach(finest.level.block.len());
        let (from, to) = (
            a.saturating_sub(reach) / factor,
            (b + reach).div_ceil(factor).min(h),
        );
        let part = coarse.clone().slice_dim(2, from..to);
        let first = from * factor;
        let own = |x: Tensor<4>| x.slice_dim(2, a - first..b - first);
        let mut x = match finest.upsample_before {
            Some(upsample) => upsample.forward_up(part),
            None => part,
        };
        let mut known = known.iter();
        for block in &finest.level.block {
            let Some(moments) = known.next() else {
                return own(x);
            };
            let y = block.norm1.forward_silu_known(x.clone(), moments);
            let y = block.conv1.forward(y);
            let Some(moments) = known.next() else {
                return own(y);
            };
            let y = block.norm2.forward_silu_known(y, moments);
            let y = block.conv2.forward(y);
            x = match &block.nin_shortcut {
                Some(shortcut) => shortcut.forward(x),
                None => x,
            } + y;
        }
        match known.next() {
            None => own(x),
            Some(moments) => {
                let x = self.norm_out.forward_silu_known(x, moments);
                own(self.conv_out.forward(x))
            }
        }
    }

    /// All levels before the finest.
    fn coarse(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.mid.forward(self.conv_in.forward(x));
        let last = self.up.len() - 1;
        for (i, level) in self.up.iter().skip(1).rev().enumerate() {
            for block in &level.block {
                x = block.forward(x);
            }
            // The upsampling before the finest level belongs to the strips.
            if let Some(upsample) = &level.upsample
                && i + 1 < last
            {
                x = upsample.forward_up(x);
            }
        }
        x
    }

    fn finest(&self) -> Finest<'_> {
        let upsample_before = self.up.get(1).and_then(|level| level.upsample.as_ref());
        Finest {
            decoder: self,
            level: &self.up[0],
            upsample_before,
        }
    }
}

/// The part of the decoder that runs in strips.
struct Finest<'a> {
    decoder: &'a Decoder,
    level: &'a super::decoder::Up,
    upsample_before: Option<&'a nextscale_tokenizer::conv::Conv>,
}

impl<'a> Finest<'a> {
    /// Its norms, in order.
    fn norms(&self) -> impl Iterator<Item = &'a GroupNorm> + use<'a> {
        let blocks = self.level.block.iter();
        let norms = blocks.flat_map(|block| [&block.norm1, &block.norm2]);
        norms.chain([&self.decoder.norm_out])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use crate::vae::BsqVaeConfig;

    #[test]
    fn strips_give_the_same_image() {
        let device = Device::flex();
        let config = |mult: &[usize]| BsqVaeConfig {
            bits: 4,
            base_channels: 8,
            encoder_mult: mult.to_vec(),
            decoder_mult: mult.to_vec(),
            encoder_blocks: 1,
            decoder_blocks: 3,
            norm_groups: Some(4),
            pixel_patch: 1,
        };
        for mult in [&[1, 2, 2][..], &[1, 2], &[1]] {
            let vae = config(mult).init(&device);
            let latent = Tensor::random([1, 4, 11, 6], Distribution::Normal(0.0, 1.0), &device);
            // A gradient over the image, which norms of single strips would get wrong.
            let slope = Tensor::<1, burn::tensor::Int>::arange(0..11, &device).float();
            let latent = latent + slope.reshape([1, 1, 11, 1]);
            let whole = vae.decoder.forward(latent.clone());
            let largest: f32 = whole.clone().abs().max().into_scalar();
            for rows in [1, 4, 10, 1000] {
                let strips = vae.decoder.forward_strips(latent.clone(), rows);
                assert_eq!(strips.dims(), whole.dims());
                let off: f32 = (strips - whole.clone()).abs().max().into_scalar();
                assert!(off < 2e-5 * largest, "{mult:?} {rows}: {off} of {largest}");
            }
        }
    }
}
