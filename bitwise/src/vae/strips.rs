//! Exact decoding of large images in strips.
//!
//! The finest level of the decoder has the largest feature maps: several of them, with 128 channels per pixel. Here none is
//! held in full: each strip of rows goes from the next coarser level to pixels, with as many extra rows as the convolutions
//! reach. Only the group norms couple the strips, since their means and deviations are those of the whole map. These are
//! measured first, one norm after the other, each by a pass over all strips up to that norm. The result is the same as
//! without strips, at the cost of more arithmetic.

use std::ops::Range;

use burn::tensor::Tensor;
use nextscale_tokenizer::{
    autoencoder::{Decoder, Up},
    conv::{Conv, GroupNorm, Moments},
};

/// [`Decoder::forward`] with the finest level in strips of `rows` rows of the result, rounded up to an even number.
///
/// # Panics
/// If `rows` is 0.
pub(super) fn decode_strips(decoder: &Decoder<Conv>, x: Tensor<4>, rows: usize) -> Tensor<4> {
    assert!(rows > 0, "a strip needs at least one row");
    let coarse = coarse(decoder, x);
    let finest = Finest::new(decoder);
    let (height, rows) = (coarse.dims()[2] * finest.factor(), rows.next_multiple_of(2));
    let strips = || {
        (0..height)
            .step_by(rows)
            .map(move |start| start..(start + rows).min(height))
    };
    let mut known: Vec<Moments> = Vec::new();
    for norm in finest.norms() {
        let mut all = Moments::empty();
        for rows in strips() {
            all.add(&finest.strip(&coarse, rows, &known), norm.groups);
        }
        known.push(all);
    }
    let strips = strips().map(|rows| finest.strip(&coarse, rows, &known));
    Tensor::cat(strips.collect(), 2)
}

/// All levels before the finest, without the upsampling before it, which belongs to the strips.
fn coarse(decoder: &Decoder<Conv>, x: Tensor<4>) -> Tensor<4> {
    let mut x = decoder.start(x);
    for (i, level) in decoder.up.iter().enumerate().skip(1).rev() {
        x = if i == 1 {
            level.forward_blocks(x)
        } else {
            level.forward(x)
        };
    }
    x
}

/// The part of the decoder that runs in strips.
struct Finest<'a> {
    decoder: &'a Decoder<Conv>,
    level: &'a Up<Conv>,
    upsample_before: Option<&'a Conv>,
}

impl<'a> Finest<'a> {
    fn new(decoder: &'a Decoder<Conv>) -> Self {
        Self {
            decoder,
            level: &decoder.up[0],
            upsample_before: decoder.up.get(1).and_then(|level| level.upsample.as_ref()),
        }
    }

    /// Rows of the result per row of the coarser level.
    fn factor(&self) -> usize {
        if self.upsample_before.is_some() { 2 } else { 1 }
    }

    /// Rows that the convolutions reach beyond a strip: one per 3 x 3 convolution, rounded up to whole cells of the coarser
    /// level.
    fn reach(&self) -> usize {
        (2 * self.level.block.len() + 2).next_multiple_of(2)
    }

    /// Its norms, in order.
    fn norms(&self) -> impl Iterator<Item = &'a GroupNorm> + use<'a> {
        let blocks = self.level.block.iter();
        let norms = blocks.flat_map(|block| [&block.norm1, &block.norm2]);
        norms.chain([&self.decoder.norm_out])
    }

    /// The `rows` of the input of the first norm whose moments are not `known`, or of the pixels if all are.
    fn strip(&self, coarse: &Tensor<4>, rows: Range<usize>, known: &[Moments]) -> Tensor<4> {
        let [_, _, h, _] = coarse.dims();
        let (factor, reach) = (self.factor(), self.reach());
        let from = rows.start.saturating_sub(reach) / factor;
        let to = (rows.end + reach).div_ceil(factor).min(h);
        let part = coarse.clone().slice_dim(2, from..to);
        let part = match self.upsample_before {
            Some(upsample) => upsample.forward_up(part),
            None => part,
        };
        let first = from * factor;
        let own = rows.start - first..rows.end - first;
        self.forward_known(part, known).slice_dim(2, own)
    }

    /// The input of the first norm whose moments are not `known`, or the pixels if all are.
    fn forward_known(&self, mut x: Tensor<4>, known: &[Moments]) -> Tensor<4> {
        let mut known = known.iter();
        for block in &self.level.block {
            let Some(moments) = known.next() else {
                return x;
            };
            let y = block.norm1.forward_silu_known(x.clone(), moments);
            let y = block.conv1.forward(y);
            let Some(moments) = known.next() else {
                return y;
            };
            let y = block.norm2.forward_silu_known(y, moments);
            let y = block.conv2.forward(y);
            x = match &block.nin_shortcut {
                Some(shortcut) => shortcut.forward(x),
                None => x,
            } + y;
        }
        let Some(moments) = known.next() else {
            return x;
        };
        let x = self.decoder.norm_out.forward_silu_known(x, moments);
        self.decoder.conv_out.forward(x)
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
            decoder_blocks: 3,
            norm_groups: Some(4),
            ..BsqVaeConfig::new(4, 8, mult, 1)
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
                let strips = super::decode_strips(&vae.decoder, latent.clone(), rows);
                assert_eq!(strips.dims(), whole.dims());
                let off: f32 = (strips - whole.clone()).abs().max().into_scalar();
                assert!(off < 2e-5 * largest, "{mult:?} {rows}: {off} of {largest}");
            }
        }
    }
}
