//! The causal 3-D auto-encoder of InfinityStar: pixels to a latent with time, and back.
//!
//! The first frame of a clip is a latent frame of its own, so that an image is a clip of one frame; behind it every `p`
//! frames make one. Nothing looks ahead in time, so a clip of any length goes through in chunks, each convolution
//! remembering the last two frames it saw ([`FrameCache`](crate::conv3d::FrameCache)).
//!
//! ```text
//! pixels ─ encoder ─ mean, variance ─ 2x2 into channels ─ draw ─ linear ─ latent
//! latent ─ linear ─ channels into 2x2 ─ decoder, whose norms see it ─ pixels
//! ```

mod decoder;
mod encoder;
mod import;
mod posterior;
pub mod resample;
mod stream;

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};
use nextscale_tokenizer::{patchify, unpatchify};
use serde::{Deserialize, Serialize};

pub use decoder::{Decoder, DecoderBlock, DecoderLevel};
pub use encoder::{Encoder, EncoderBlock, EncoderLevel};
pub use import::is_unused;
pub use posterior::Posterior;
pub use stream::{DecodeStream, EncodeStream};

use resample::Resample;

/// What fixes the auto-encoder's shapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfinityStarVaeConfig {
    /// Channels of each level, fine to coarse, and then of the coarsest size: one more than there are levels.
    pub channels: Vec<usize>,
    /// What each encoder level halves at its end; the decoder mirrors it.
    pub levels: Vec<Resample>,
    /// Residual blocks of an encoder level.
    pub encoder_blocks: usize,
    /// Residual blocks of a decoder level.
    pub decoder_blocks: usize,
    /// Channels between encoder and decoder, z. The latent that is quantised has 2 x 2 cells in its channels: 4 z.
    pub latent: usize,
    /// Pixels along the side of what the first convolution takes as one cell, all of them in its channels: a power of
    /// two. 1 in released models; small models save most of their time with 2 or 4.
    #[serde(default = "one")]
    pub pixel_patch: usize,
}

fn one() -> usize {
    1
}

impl InfinityStarVaeConfig {
    /// The released `infinitystar_videovae.pth`: stride 16, 4 frames a latent frame, 64 channels (defaults of
    /// `infinity/models/videovae/models/load_vae_bsq_wan_absorb_patchify.py`).
    pub fn infinitystar() -> Self {
        Self {
            channels: vec![96, 192, 384, 384, 384],
            levels: vec![
                Resample::SpaceTime,
                Resample::SpaceTime,
                Resample::Space,
                Resample::None,
            ],
            encoder_blocks: 2,
            decoder_blocks: 3,
            latent: 16,
            pixel_patch: 1,
        }
    }

    /// Pixels along the side of a cell of the latent.
    pub fn stride(&self) -> usize {
        2 * self.pixel_patch * self.levels.iter().map(|l| l.space()).product::<usize>()
    }

    /// Frames that a latent frame behind the first one stands for, p.
    pub fn frame_stride(&self) -> usize {
        self.levels.iter().map(|l| l.time()).product()
    }

    /// Channels of the latent that is quantised.
    pub fn latent_channels(&self) -> usize {
        4 * self.latent
    }

    /// Whether the sizes fit each other.
    ///
    /// # Errors
    /// The first contradiction, as the rest of a sentence about the model.
    pub fn validate(&self) -> Result<(), String> {
        if self.channels.len() != self.levels.len() + 1 {
            return Err(format!(
                "has an auto-encoder with widths {:?} for levels {:?}",
                self.channels, self.levels
            ));
        }
        if !self.pixel_patch.is_power_of_two() {
            return Err(format!(
                "has an auto-encoder with a pixel patch of {}, which is no power of two",
                self.pixel_patch
            ));
        }
        for (widths, level) in self.channels.windows(2).zip(&self.levels) {
            if *level == Resample::None && widths[0] != widths[1] {
                return Err(format!(
                    "has an auto-encoder with a level that keeps its size and goes from {} to {} channels",
                    widths[0], widths[1]
                ));
            }
        }
        Ok(())
    }

    /// An auto-encoder with random weights.
    ///
    /// # Panics
    /// If there is not one more width than levels, a level that keeps its size changes its width, or the widths cannot
    /// be folded, or the pixel patch is no power of two.
    pub fn init(&self, device: &Device) -> InfinityStarVae {
        self.validate()
            .unwrap_or_else(|e| panic!("a model that {e}"));
        let wide = self.latent_channels();
        InfinityStarVae {
            encoder: Encoder::init(self, device),
            decoder: Decoder::init(self, device),
            proj_down: Pointwise::init(wide, device),
            proj_up: Pointwise::init(wide, device),
            scale: Initializer::Ones.init([4], device),
            stride: self.stride(),
            frame_stride: self.frame_stride(),
            pixel_patch: self.pixel_patch,
        }
    }

    /// Channels of a cell of pixels.
    fn pixel_channels(&self) -> usize {
        3 * self.pixel_patch * self.pixel_patch
    }
}

/// A linear layer over channels, weights stored as `[out, in]`.
#[derive(Module, Debug)]
pub struct Pointwise {
    /// `[c', c]`.
    pub weight: Param<Tensor<2>>,
    /// `[c']`.
    pub bias: Param<Tensor<1>>,
}

impl Pointwise {
    fn init(channels: usize, device: &Device) -> Self {
        let initializer = Initializer::KaimingUniform {
            gain: 1.0 / 3f64.sqrt(),
            fan_out_only: false,
        };
        Self {
            weight: initializer.init_with([channels, channels], Some(channels), None, device),
            bias: initializer.init_with([channels], Some(channels), None, device),
        }
    }

    /// `[b, c, t, h, w]` to `[b, c', t, h, w]`.
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [b, c, t, h, w] = x.dims();
        let [to, _] = self.weight.dims();
        let weight = self.weight.val().unsqueeze::<3>().expand([b, to, c]);
        let y = weight.matmul(x.reshape([b, c, t * h * w]));
        y.reshape([b, to, t, h, w]) + self.bias.val().reshape([1, to, 1, 1, 1])
    }
}

/// The auto-encoder.
#[derive(Module, Debug)]
pub struct InfinityStarVae {
    /// Pixels to moments.
    pub encoder: Encoder,
    /// Latent to pixels.
    pub decoder: Decoder,
    /// Behind the draw.
    pub proj_down: Pointwise,
    /// Its counterpart in front of the decoder.
    pub proj_up: Pointwise,
    /// Learned factors on the latent, `[4]`, of which only the first one is used.
    pub scale: Param<Tensor<1>>,
    /// Pixels along the side of a cell.
    pub stride: usize,
    /// Frames a latent frame behind the first one.
    pub frame_stride: usize,
    /// Pixels along the side of a cell of the first convolution.
    pub pixel_patch: usize,
}

impl InfinityStarVae {
    /// Raw moments of a whole clip: pixels `[b, 3, t, h, w]` in [-1, 1] to `[b, 2 z, t', 2 h/s, 2 w/s]`.
    ///
    /// # Panics
    /// If the sides are no multiples of the stride, or the frames not `1 + k p`.
    pub fn moments(&self, frames: Tensor<5>) -> Tensor<5> {
        self.encode_stream().push_all(frames)
    }

    /// What the latent of a whole clip may be.
    ///
    /// # Panics
    /// As [`InfinityStarVae::moments`].
    pub fn encode(&self, frames: Tensor<5>) -> Posterior {
        self.posterior(self.moments(frames))
    }

    /// The posterior of raw moments, which may be those of a chunk.
    pub fn posterior(&self, moments: Tensor<5>) -> Posterior {
        Posterior::new(patchify(moments))
    }

    /// A draw from the posterior, `[b, 4 z, t, h, w]`, to the latent that is quantised, same shape.
    pub fn latent(&self, draw: Tensor<5>) -> Tensor<5> {
        let [b, c, t, h, w] = draw.dims();
        let x = self.proj_down.forward(draw);
        x * self.first_scale().expand([b, c, t, h, w])
    }

    /// The latent of a whole clip `[b, 4 z, t, h, w]` (continuous, or the sum of its codes) to pixels
    /// `[b, 3, 1 + (t - 1) p, s h, s w]`, about [-1, 1], not clamped.
    pub fn decode(&self, latent: Tensor<5>) -> Tensor<5> {
        let mut stream = self.decode_stream();
        Tensor::cat(stream.push_all(latent).collect(), 2)
    }

    /// Starts to encode a clip that comes chunk by chunk.
    pub fn encode_stream(&self) -> EncodeStream<'_> {
        EncodeStream::new(self)
    }

    /// Starts to decode a clip that comes, or goes, chunk by chunk.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// The latent `[b, 4 z, t, h, w]` as the decoder takes it, `[b, z, t, 2h, 2w]`.
    fn decoder_input(&self, latent: Tensor<5>) -> Tensor<5> {
        let dims = latent.dims();
        let x = latent / self.first_scale().expand(dims);
        unpatchify(self.proj_up.forward(x))
    }

    /// Pixels as the encoder takes them.
    fn fold(&self, pixels: Tensor<5>) -> Tensor<5> {
        (0..self.pixel_patch.ilog2()).fold(pixels, |x, _| patchify(x))
    }

    /// What the decoder gives, as pixels.
    fn unfold(&self, cells: Tensor<5>) -> Tensor<5> {
        (0..self.pixel_patch.ilog2()).fold(cells, |x, _| unpatchify(x))
    }

    fn first_scale(&self) -> Tensor<5> {
        let first = self.scale.val().slice_dim(0, 0..1);
        first.reshape([1, 1, 1, 1, 1])
    }
}

#[cfg(test)]
pub(crate) fn tiny() -> InfinityStarVaeConfig {
    InfinityStarVaeConfig {
        channels: vec![4, 4, 8],
        levels: vec![Resample::SpaceTime, Resample::Space],
        encoder_blocks: 1,
        decoder_blocks: 1,
        latent: 2,
        pixel_patch: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn clip(frames: usize) -> Tensor<5> {
        let range = Distribution::Uniform(-1.0, 1.0);
        Tensor::random([1, 3, frames, 16, 24], range, &Device::flex())
    }

    fn off(a: Tensor<5>, b: Tensor<5>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn shapes() {
        let config = InfinityStarVaeConfig::infinitystar();
        assert_eq!((config.stride(), config.frame_stride()), (16, 4));
        assert_eq!(config.latent_channels(), 64);
        let vae = tiny().init(&Device::flex());
        assert_eq!((vae.stride, vae.frame_stride), (8, 2));
        let latent = vae.latent(vae.encode(clip(5)).mode());
        assert_eq!(latent.dims(), [1, 8, 3, 2, 3]);
        assert_eq!(vae.decode(latent).dims(), [1, 3, 5, 16, 24]);
    }

    #[test]
    fn pixels_may_be_folded_first() {
        let config = InfinityStarVaeConfig {
            pixel_patch: 2,
            ..tiny()
        };
        let vae = config.init(&Device::flex());
        assert_eq!(vae.stride, 16);
        let frames = clip(5).slice_dim(4, 0..16);
        let latent = vae.latent(vae.encode(frames.clone()).mode());
        assert_eq!(latent.dims(), [1, 8, 3, 1, 1]);
        assert_eq!(vae.decode(latent).dims(), [1, 3, 5, 16, 16]);
        assert!(off(vae.unfold(vae.fold(frames.clone())), frames) == 0.0);
    }

    #[test]
    fn frames_may_be_halved_alone() {
        let config = InfinityStarVaeConfig {
            levels: vec![Resample::SpaceTime, Resample::Time],
            channels: vec![4, 8, 8],
            ..tiny()
        };
        let vae = config.init(&Device::flex());
        assert_eq!((vae.stride, vae.frame_stride), (4, 4));
        let latent = vae.latent(vae.encode(clip(9)).mode());
        assert_eq!(latent.dims(), [1, 8, 3, 4, 6]);
        assert_eq!(vae.decode(latent).dims(), [1, 3, 9, 16, 24]);
    }

    #[test]
    fn chunks_of_any_size_add_up() {
        let vae = tiny().init(&Device::flex());
        let frames = clip(9);
        let mut whole = crate::conv3d::FrameCache::new();
        let moments = vae.encoder.forward(frames.clone(), &mut whole);
        assert!(off(vae.moments(frames.clone()), moments.clone()) < 1e-5);
        let mut stream = vae.encode_stream();
        let parts = [0..1, 1..5, 5..7, 7..9];
        let parts = parts.map(|r| stream.push(frames.clone().slice_dim(2, r)));
        assert!(off(Tensor::cat(parts.into(), 2), moments.clone()) < 1e-5);

        let latent = vae.latent(vae.posterior(moments).mode());
        let mut whole = crate::conv3d::FrameCache::new();
        let pixels = vae
            .decoder
            .forward(vae.decoder_input(latent.clone()), &mut whole);
        assert_eq!(pixels.dims(), [1, 3, 9, 16, 24]);
        assert!(off(vae.decode(latent.clone()), pixels.clone()) < 1e-5);
        for cut in 1..5 {
            let mut stream = vae.decode_stream();
            let parts = [0..cut, cut..5].map(|r| stream.push(latent.clone().slice_dim(2, r)));
            assert!(off(Tensor::cat(parts.into(), 2), pixels.clone()) < 1e-5);
        }
    }

    #[test]
    #[should_panic(expected = "4 frames at the start of a clip")]
    fn frames_must_fill_latent_frames() {
        tiny().init(&Device::flex()).moments(clip(4));
    }

    #[test]
    fn gradients_reach_both_ends() {
        let device = Device::flex().autodiff();
        let vae = tiny().init(&device);
        let frames = Tensor::from_inner(clip(3));
        let latent = vae.latent(vae.encode(frames.clone()).mode());
        let loss = (vae.decode(latent) - frames).square().mean();
        let grads = loss.backward();
        for conv in [&vae.encoder.conv_in, &vae.decoder.norm_out.conv_y] {
            let grad = conv.weight.grad(&grads).expect("a gradient");
            assert!(grad.abs().sum().into_scalar::<f32>() > 0.0);
        }
    }
}
