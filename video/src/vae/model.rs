use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};
use nextscale_tokenizer::{patchify, unpatchify};

use super::config::InfinityStarVaeConfig;
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::posterior::Posterior;
use super::stream::{DecodeStream, EncodeStream};
use crate::conv3d::FrameCache;

impl InfinityStarVaeConfig {
    /// An auto-encoder with random weights.
    ///
    /// # Panics
    /// If the configuration is not valid ([`InfinityStarVaeConfig::validate`]), or the channels cannot be folded.
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
}

/// A linear layer over channels, with weights stored as `[out, in]`.
#[derive(Module, Debug)]
pub struct Pointwise {
    /// Weights, `[c', c]`.
    pub weight: Param<Tensor<2>>,
    /// Biases, `[c']`.
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
    /// After sampling from the posterior.
    pub proj_down: Pointwise,
    /// Before the decoder.
    pub proj_up: Pointwise,
    /// Learned factors on the latent, `[4]`; only the first one is used.
    pub scale: Param<Tensor<1>>,
    /// Pixels along the side of a latent cell, s.
    pub stride: usize,
    /// Frames per latent frame after the first one, p.
    pub frame_stride: usize,
    /// Side of a pixel patch.
    pub pixel_patch: usize,
}

impl InfinityStarVae {
    /// The raw moments of a whole clip: pixels `[b, 3, t, h, w]` in [-1, 1] to `[b, 2 z, t', 2 h/s, 2 w/s]`.
    ///
    /// # Panics
    /// If the sides are not multiples of the stride, or the number of frames is not `1 + k p`.
    pub fn moments(&self, frames: Tensor<5>) -> Tensor<5> {
        self.encode_stream().push_all(frames)
    }

    /// The posterior of the latent of a whole clip, pixels `[b, 3, t, h, w]` in [-1, 1].
    ///
    /// # Panics
    /// See [`InfinityStarVae::moments`].
    pub fn encode(&self, frames: Tensor<5>) -> Posterior {
        self.posterior(self.moments(frames))
    }

    /// The posterior of raw moments, of a whole clip or of a chunk.
    pub fn posterior(&self, moments: Tensor<5>) -> Posterior {
        Posterior::new(patchify(moments))
    }

    /// A sample of the posterior, `[b, 4 z, t, h, w]`, to the latent to quantise, same shape.
    pub fn latent(&self, sample: Tensor<5>) -> Tensor<5> {
        let [b, c, t, h, w] = sample.dims();
        let x = self.proj_down.forward(sample);
        x * self.first_scale().expand([b, c, t, h, w])
    }

    /// The latent of a whole clip `[b, 4 z, t, h, w]` (continuous, or the sum of its codes) to pixels
    /// `[b, 3, 1 + (t - 1) p, s h, s w]`, about [-1, 1], not clamped.
    pub fn decode(&self, latent: Tensor<5>) -> Tensor<5> {
        let mut stream = self.decode_stream();
        Tensor::cat(stream.push_all(latent).collect(), 2)
    }

    /// The latent of a whole clip `[b, 4 z, t, h, w]`, in one chunk, to what the decoder's last convolution reads: for training.
    pub fn features(&self, latent: Tensor<5>) -> Tensor<5> {
        let z = self.decoder_input(latent);
        self.decoder.features(z, &mut FrameCache::new())
    }

    /// [`InfinityStarVae::features`] of a whole clip to pixels `[b, 3, 1 + (t - 1) p, s h, s w]`: both together are a
    /// [`DecodeStream`] that gets the clip in one chunk.
    pub fn pixels(&self, features: Tensor<5>) -> Tensor<5> {
        let cells = self
            .decoder
            .conv_out
            .forward(features, &mut FrameCache::new());
        self.unfold(cells)
    }

    /// Starts to encode a clip chunk by chunk.
    pub fn encode_stream(&self) -> EncodeStream<'_> {
        EncodeStream::new(self)
    }

    /// Starts to decode a clip chunk by chunk.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// The latent `[b, 4 z, t, h, w]` as the decoder's input, `[b, z, t, 2h, 2w]`.
    pub(super) fn decoder_input(&self, latent: Tensor<5>) -> Tensor<5> {
        let dims = latent.dims();
        let x = latent / self.first_scale().expand(dims);
        unpatchify(self.proj_up.forward(x))
    }

    /// Pixels as the encoder's input: patches folded into channels.
    pub(super) fn fold(&self, pixels: Tensor<5>) -> Tensor<5> {
        (0..self.pixel_patch.ilog2()).fold(pixels, |x, _| patchify(x))
    }

    /// The decoder's output as pixels: the inverse of [`InfinityStarVae::fold`].
    pub(super) fn unfold(&self, cells: Tensor<5>) -> Tensor<5> {
        (0..self.pixel_patch.ilog2()).fold(cells, |x, _| unpatchify(x))
    }

    fn first_scale(&self) -> Tensor<5> {
        let first = self.scale.val().slice_dim(0, 0..1);
        first.reshape([1, 1, 1, 1, 1])
    }
}

#[cfg(test)]
fn tiny() -> InfinityStarVaeConfig {
    InfinityStarVaeConfig {
        channels: vec![4, 4, 8],
        levels: vec![
            super::resample::Resample::SpaceTime,
            super::resample::Resample::Space,
        ],
        encoder_blocks: 1,
        decoder_blocks: 1,
        latent: 2,
        pixel_patch: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vae::resample::Resample;
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
