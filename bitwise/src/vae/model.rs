use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use nextscale_tokenizer::{
    Codes, Pyramid, ScaleSchedule,
    autoencoder::{Decoder, Encoder, LevelConfig},
    conv::Conv,
    pyramid::Encoded,
};
use serde::{Deserialize, Serialize};

use super::strips::decode_strips;
use crate::bsq::Bsq;

/// The shapes of the auto-encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BsqVaeConfig {
    /// Bits per cell, d.
    pub bits: usize,
    /// Channels of the finest level.
    pub base_channels: usize,
    /// Channels of each encoder level as multiples of `base_channels`, fine to coarse. Every level but
    /// the last halves the sides.
    pub encoder_mult: Vec<usize>,
    /// The same for the decoder.
    pub decoder_mult: Vec<usize>,
    /// Residual blocks per encoder level.
    pub encoder_blocks: usize,
    /// Residual blocks per decoder level.
    pub decoder_blocks: usize,
    /// Groups of every group norm. `None` is the rule of the released models: 32, or 24 where 32 does not divide the
    /// channels. A small model needs fewer groups than channels: with one channel per group, channel means are lost.
    #[serde(default)]
    pub norm_groups: Option<usize>,
    /// Side of a pixel patch: the first convolution takes the pixels of a patch as channels, and the last one returns
    /// them as channels. 1 in the released models; 2 or 4 saves most of the arithmetic.
    #[serde(default = "one")]
    pub pixel_patch: usize,
}

fn one() -> usize {
    1
}

impl BsqVaeConfig {
    /// The released stride-16 tokenizers `infinity_vae_d{16,24,32,64}` and `d32reg`.
    pub fn stride_16(bits: usize) -> Self {
        Self::released(bits, &[1, 2, 4, 4, 4])
    }

    /// The released stride-8 tokenizer `infinity_vae_d56_f8_14_patchify`, used with 2 x 2 patches of 14 bits.
    pub fn stride_8_patchify() -> Self {
        Self::released(14, &[1, 2, 4, 4])
    }

    fn released(bits: usize, mult: &[usize]) -> Self {
        Self::new(bits, 128, mult, 2)
    }

    /// The same levels in encoder and decoder, with `blocks` residual blocks each in the encoder and one more in the
    /// decoder; norm groups and pixel patch as in the released models.
    pub fn new(bits: usize, base_channels: usize, mult: &[usize], blocks: usize) -> Self {
        Self {
            bits,
            base_channels,
            encoder_mult: mult.to_vec(),
            decoder_mult: mult.to_vec(),
            encoder_blocks: blocks,
            decoder_blocks: blocks + 1,
            norm_groups: None,
            pixel_patch: 1,
        }
    }

    /// Pixels along the side of a latent cell, s.
    pub fn stride(&self) -> usize {
        self.pixel_patch << (self.encoder_mult.len() - 1)
    }

    /// The sizes of encoder or decoder, with `blocks` blocks per level.
    fn levels<'a>(&self, mult: &'a [usize], blocks: usize) -> LevelConfig<'a> {
        LevelConfig {
            pixels: 3 * self.pixel_patch * self.pixel_patch,
            latent: self.bits,
            base_channels: self.base_channels,
            mult,
            blocks,
            attends: false,
            norm_groups: self.norm_groups,
        }
    }

    /// An auto-encoder with random weights.
    ///
    /// # Panics
    /// If encoder and decoder have different numbers of levels, or the norm groups do not divide the channels of a level.
    pub fn init(&self, device: &Device) -> BsqVae {
        assert!(
            self.encoder_mult.len() == self.decoder_mult.len() && !self.encoder_mult.is_empty(),
            "the encoder has levels {:?}, the decoder {:?}: the numbers must match",
            self.encoder_mult,
            self.decoder_mult
        );
        let encoder = self.levels(&self.encoder_mult, self.encoder_blocks);
        let decoder = self.levels(&self.decoder_mult, self.decoder_blocks);
        BsqVae {
            encoder: Encoder::init(&encoder, device),
            decoder: Decoder::init(&decoder, device),
            bits: self.bits,
            stride: self.stride(),
            pixel_patch: self.pixel_patch,
        }
    }
}

/// The auto-encoder.
#[derive(Module, Debug)]
pub struct BsqVae {
    /// Pixels to latent.
    pub encoder: Encoder<Conv>,
    /// Latent to pixels.
    pub decoder: Decoder<Conv>,
    /// Bits per cell, d.
    pub bits: usize,
    /// Pixels along the side of a latent cell, s.
    pub stride: usize,
    /// Side of a pixel patch.
    pub pixel_patch: usize,
}

impl BsqVae {
    /// The quantiser.
    pub fn quantizer(&self) -> Bsq {
        Bsq::new(self.bits)
    }

    /// Pixels `[b, 3, h, w]` in [-1, 1] to the continuous latent `[b, d, 1, h/s, w/s]`.
    ///
    /// # Panics
    /// If the sides are not multiples of the stride.
    pub fn encode(&self, image: Tensor<4>) -> Tensor<5> {
        let [_, _, h, w] = image.dims();
        assert!(
            h % self.stride == 0 && w % self.stride == 0,
            "an image of {h}x{w} does not fit a stride of {}",
            self.stride
        );
        let cells = pixels_to_channels(image, self.pixel_patch);
        self.encoder.forward(cells).unsqueeze_dim(2)
    }

    /// Latent `[b, d, 1, h, w]` to pixels `[b, 3, h s, w s]`, clamped to [-1, 1].
    pub fn decode(&self, latent: Tensor<5>) -> Tensor<4> {
        self.reconstruct(latent).clamp(-1.0, 1.0)
    }

    /// [`BsqVae::decode`] with the finest level computed in strips of `rows` rows of patches: the same image up to
    /// rounding, with half the memory and more arithmetic.
    pub fn decode_strips(&self, latent: Tensor<5>, rows: usize) -> Tensor<4> {
        let cells = decode_strips(&self.decoder, latent.squeeze_dim(2), rows);
        channels_to_pixels(cells, self.pixel_patch).clamp(-1.0, 1.0)
    }

    /// [`BsqVae::decode`] without the clamp: for training, where a clamp would stop the gradient.
    pub fn reconstruct(&self, latent: Tensor<5>) -> Tensor<4> {
        let cells = self.decoder.forward(latent.squeeze_dim(2));
        channels_to_pixels(cells, self.pixel_patch)
    }

    /// Latent `[b, d, 1, h, w]` to what the decoder's last convolution reads, `[b, c, h s / p, w s / p]` for pixel patches of
    /// p x p.
    pub fn features(&self, latent: Tensor<5>) -> Tensor<4> {
        self.decoder.features(latent.squeeze_dim(2))
    }

    /// [`BsqVae::features`] to pixels `[b, 3, h s, w s]`: both together are [`BsqVae::reconstruct`].
    pub fn pixels(&self, features: Tensor<4>) -> Tensor<4> {
        channels_to_pixels(self.decoder.conv_out.forward(features), self.pixel_patch)
    }

    /// Pixels `[b, 3, h, w]` to the bits of every scale of the tokenizer's `schedule`, and the sum of their codes.
    pub fn encode_bits(&self, image: Tensor<4>, schedule: &ScaleSchedule) -> Encoded {
        Pyramid::plain(&self.quantizer()).encode(self.encode(image), schedule)
    }

    /// Bits of the first scales (all of them, or fewer for a preview) to pixels `[b, 3, h, w]` in [-1, 1].
    pub fn decode_bits(&self, codes: &[Codes], schedule: &ScaleSchedule) -> Tensor<4> {
        self.decode(Pyramid::plain(&self.quantizer()).decode(codes, schedule))
    }
}

/// `[b, c, h, w]` to `[b, c p p, h/p, w/p]`, channel c p p + dy p + dx.
fn pixels_to_channels(x: Tensor<4>, p: usize) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    if p == 1 {
        return x;
    }
    x.reshape([b, c, h / p, p, w / p, p])
        .permute([0, 1, 3, 5, 2, 4])
        .reshape([b, c * p * p, h / p, w / p])
}

/// The inverse of [`pixels_to_channels`].
fn channels_to_pixels(x: Tensor<4>, p: usize) -> Tensor<4> {
    let [b, cpp, h, w] = x.dims();
    if p == 1 {
        return x;
    }
    x.reshape([b, cpp / (p * p), p, p, h, w])
        .permute([0, 1, 4, 2, 5, 3])
        .reshape([b, cpp / (p * p), h * p, w * p])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn tiny() -> BsqVaeConfig {
        BsqVaeConfig {
            norm_groups: Some(4),
            ..BsqVaeConfig::new(4, 8, &[1, 2], 1)
        }
    }

    #[test]
    fn shapes_and_range() {
        let device = Device::flex();
        let vae = tiny().init(&device);
        let image = Tensor::random([2, 3, 12, 8], Distribution::Uniform(-1.0, 1.0), &device);
        let z = vae.encode(image);
        assert_eq!(z.dims(), [2, 4, 1, 6, 4]);
        let y = vae.decode(z * 100.0);
        assert_eq!(y.dims(), [2, 3, 12, 8]);
        assert!(y.abs().max().into_scalar::<f32>() <= 1.0);
    }

    #[test]
    fn patches_of_pixels_keep_their_place() {
        let x = Tensor::<1, burn::tensor::Int>::arange(0..96, &Device::flex());
        let x = x.float().reshape([1, 3, 4, 8]);
        let cells = pixels_to_channels(x.clone(), 2);
        assert_eq!(cells.dims(), [1, 12, 2, 4]);
        let pixel: f32 = cells.clone().slice([0..1, 7..8, 1..2, 2..3]).into_scalar();
        assert_eq!(pixel, 32.0 + 8.0 * 3.0 + 5.0);
        assert_eq!(channels_to_pixels(cells, 2).into_data(), x.into_data());
        let config = BsqVaeConfig {
            pixel_patch: 2,
            ..tiny()
        };
        let vae = config.init(&Device::flex());
        let image = Tensor::zeros([1, 3, 16, 8], &Device::flex());
        let z = vae.encode(image);
        assert_eq!((config.stride(), z.dims()), (4, [1, 4, 1, 4, 2]));
        assert_eq!(vae.decode(z).dims(), [1, 3, 16, 8]);
    }

    #[test]
    fn training_reaches_every_parameter() {
        let device = Device::flex().autodiff();
        let vae = tiny().init(&device);
        let schedule = ScaleSchedule::square(&[1, 2, 4]).unwrap();
        let image = Tensor::random([2, 3, 8, 8], Distribution::Uniform(-1.0, 1.0), &device);
        let latent = vae.encode(image.clone());
        let trained = vae
            .quantizer()
            .quantize_straight_through(latent, &schedule, 3);
        let error = (vae.reconstruct(trained.latent) - image).square().mean();
        let grads = (error + trained.commitment + trained.entropy).backward();
        for conv in [
            &vae.encoder.conv_in,
            &vae.decoder.conv_in,
            &vae.decoder.conv_out,
        ] {
            let grad = conv.weight.grad(&grads).expect("a gradient");
            assert!(grad.abs().sum().into_scalar::<f32>() > 0.0);
        }
    }

    #[test]
    fn released_presets() {
        let config = BsqVaeConfig::stride_16(32);
        assert_eq!(config.stride(), 16);
        assert_eq!(BsqVaeConfig::stride_8_patchify().stride(), 8);
        let device = Device::flex();
        assert_eq!(tiny().init(&device).num_params(), count(&tiny()));
    }

    /// Counts parameters from the config alone.
    fn count(c: &BsqVaeConfig) -> usize {
        let conv = |a: usize, b: usize| a * b * 9 + b;
        let block = |a: usize, b: usize| {
            let shortcut = if a == b { 0 } else { a * b + b };
            2 * a + conv(a, b) + 2 * b + conv(b, b) + shortcut
        };
        let (fine, coarse) = (c.base_channels, 2 * c.base_channels);
        let encoder = conv(3, fine) + block(fine, fine) + conv(fine, fine) + block(fine, coarse);
        let mid = 2 * block(coarse, coarse);
        let encoder = encoder + mid + 2 * coarse + conv(coarse, c.bits);
        let decoder = conv(c.bits, coarse) + mid + 2 * block(coarse, coarse);
        let decoder = decoder + conv(coarse, coarse) + block(coarse, fine) + block(fine, fine);
        encoder + decoder + 2 * fine + conv(fine, 3)
    }
}
