//! The auto-encoder: pixels to latent, latent to codes, and back.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::config::VqVaeConfig;
use crate::autoencoder::{Decoder, Encoder, LevelConfig, NamedConv};
use crate::conv::Conv;
use crate::phi::Phi;
use crate::pyramid::{Encoded, Pyramid};
use crate::quantizer::{Codes, Quantizer};
use crate::resize::Resize;
use crate::schedule::ScaleSchedule;
use crate::vq::Codebook;

impl VqVaeConfig {
    /// The sizes of encoder or decoder, with `blocks` blocks per level.
    fn levels(&self, blocks: usize) -> LevelConfig<'_> {
        LevelConfig {
            pixels: 3,
            latent: self.channels,
            base_channels: self.base_channels,
            mult: &self.mult,
            blocks,
            attends: true,
            norm_groups: Some(self.norm_groups),
        }
    }

    /// Codebook and phi alone, with random weights.
    pub fn init_codes(&self, device: &Device) -> VqCodes {
        VqCodes {
            codebook: Codebook::init(self.vocabulary, self.channels, device),
            phi: Phi::init(self.phis, self.channels, self.phi_ratio, device),
        }
    }

    /// An auto-encoder with random weights.
    ///
    /// # Panics
    /// If there is no level, or the norm groups do not divide the channels of a level.
    pub fn init(&self, device: &Device) -> VqVae {
        assert!(!self.mult.is_empty(), "an auto-encoder needs a level");
        let c = self.channels;
        let VqCodes { codebook, phi } = self.init_codes(device);
        VqVae {
            encoder: Encoder::init(&self.levels(self.blocks), device),
            decoder: Decoder::init(&self.levels(self.blocks + 1), device),
            codebook,
            phi,
            quant_conv: Conv::init(c, c, 3, device),
            post_quant_conv: Conv::init(c, c, 3, device),
            stride: self.stride(),
        }
    }
}

/// The part of an auto-encoder that generation needs: codebook and phi, without encoder and decoder.
#[derive(Module, Debug)]
pub struct VqCodes {
    /// The vectors of the codes.
    pub codebook: Codebook,
    /// Refines a scale at full size.
    pub phi: Phi,
}

impl VqCodes {
    /// The residual pyramid, as [`VqVae::pyramid`].
    pub fn pyramid(&self) -> Pyramid<'_, Codebook, Phi> {
        pyramid(&self.codebook, &self.phi)
    }
}

/// Area down, bicubic up and then phi, area down for the transformer's input.
fn pyramid<'a>(quantizer: &'a Codebook, refine: &'a Phi) -> Pyramid<'a, Codebook, Phi> {
    Pyramid {
        quantizer,
        refine,
        up: Resize::Bicubic,
        down: Resize::Area,
        input_down: Resize::Area,
    }
}

/// The auto-encoder.
#[derive(Module, Debug)]
pub struct VqVae {
    /// Pixels to latent.
    pub encoder: Encoder<NamedConv>,
    /// Latent to pixels.
    pub decoder: Decoder<NamedConv>,
    /// The vectors of the codes.
    pub codebook: Codebook,
    /// Refines a scale at full size.
    pub phi: Phi,
    /// After the encoder.
    pub quant_conv: Conv,
    /// Before the decoder.
    pub post_quant_conv: Conv,
    /// Pixels per side of a latent cell, s.
    pub stride: usize,
}

/// A quantised latent in training.
#[derive(Debug, Clone)]
pub struct Quantised {
    /// The quantised latent, `[b, c, 1, h, w]`, with a straight-through gradient to the encoder.
    pub latent: Tensor<5>,
    /// Codebook and commitment loss, the mean over the scales, `[1]`.
    pub loss: Tensor<1>,
    /// The codes of each scale.
    pub codes: Vec<Codes>,
    /// The cells that each scale quantised, `[b, c, 1, h_k, w_k]`, without gradient.
    pub cells: Vec<Tensor<5>>,
}

impl VqVae {
    /// The residual pyramid: area down, bicubic up and then phi, area down for the transformer's input.
    pub fn pyramid(&self) -> Pyramid<'_, Codebook, Phi> {
        pyramid(&self.codebook, &self.phi)
    }

    /// Pixels `[b, 3, h, w]` in [-1, 1] to the continuous latent `[b, c, 1, h/s, w/s]`.
    ///
    /// # Panics
    /// If the sides are not multiples of the stride.
    pub fn encode(&self, image: Tensor<4>) -> Tensor<5> {
        let [_, _, h, w] = image.dims();
        assert!(
            h.is_multiple_of(self.stride) && w.is_multiple_of(self.stride),
            "an image of {h}x{w} does not divide into cells of {} pixels",
            self.stride
        );
        let latent = self.quant_conv.forward(self.encoder.forward(image));
        latent.unsqueeze_dim(2)
    }

    /// Latent `[b, c, 1, h, w]` to pixels `[b, 3, h s, w s]`, clamped to [-1, 1].
    pub fn decode(&self, latent: Tensor<5>) -> Tensor<4> {
        self.reconstruct(latent).clamp(-1.0, 1.0)
    }

    /// As [`VqVae::decode`], but not clamped: for training, where a clamp would stop the gradient.
    pub fn reconstruct(&self, latent: Tensor<5>) -> Tensor<4> {
        let cells = self.post_quant_conv.forward(latent.squeeze_dim(2));
        self.decoder.forward(cells)
    }

    /// Latent `[b, c, 1, h, w]` to what the decoder's last convolution reads, `[b, c', h s, w s]`.
    pub fn features(&self, latent: Tensor<5>) -> Tensor<4> {
        let cells = self.post_quant_conv.forward(latent.squeeze_dim(2));
        self.decoder.features(cells)
    }

    /// [`VqVae::features`] to pixels `[b, 3, h s, w s]`: both together are [`VqVae::reconstruct`].
    pub fn pixels(&self, features: Tensor<4>) -> Tensor<4> {
        self.decoder.conv_out.forward(features)
    }

    /// Pixels to the codes of every scale of `schedule`, and their sum.
    pub fn encode_codes(&self, image: Tensor<4>, schedule: &ScaleSchedule) -> Encoded {
        self.pyramid().encode(self.encode(image), schedule)
    }

    /// Codes of the first scales (all, or fewer for a preview) to pixels in [-1, 1].
    pub fn decode_codes(&self, codes: &[Codes], schedule: &ScaleSchedule) -> Tensor<4> {
        self.decode(self.pyramid().decode(codes, schedule))
    }

    /// The quantiser in training: `latent` `[b, c, 1, h, w]` to its codes and back, with the loss
    /// `mean_k beta |sg(f_k) - f|^2 + |f_k - sg(f)|^2` over the running sums `f_k` (`VectorQuantizer2.forward`).
    pub fn quantise(&self, latent: Tensor<5>, schedule: &ScaleSchedule, beta: f64) -> Quantised {
        let pyramid = self.pyramid();
        let detached = latent.clone().detach();
        let (mut codes, mut quantised, mut losses) = (Vec::new(), Vec::new(), Vec::new());
        let sum = pyramid.descend_observed(
            detached.clone(),
            schedule,
            |_, cells| {
                let cells = cells.detach();
                let scale = self.codebook.quantize(cells.clone());
                quantised.push(cells);
                let vectors = self.codebook.embed(&scale);
                codes.push(scale);
                vectors
            },
            |sum| {
                let commitment = mean_square(sum.clone().detach() - latent.clone());
                let codebook = mean_square(sum.clone() - detached.clone());
                losses.push(commitment * beta + codebook);
            },
        );
        Quantised {
            latent: (sum.detach() - detached.clone()) + latent.clone(),
            loss: Tensor::cat(losses, 0).mean(),
            codes,
            cells: quantised,
        }
    }
}

/// The mean of the squares, `[1]`, of numbers in one row: on a card, sums over the axes of a view are wrong (docs/upstream.md).
fn mean_square(x: Tensor<5>) -> Tensor<1> {
    x.flatten::<1>(0, 4).square().mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn tiny() -> VqVaeConfig {
        VqVaeConfig {
            vocabulary: 12,
            channels: 4,
            base_channels: 8,
            mult: vec![1, 2],
            blocks: 1,
            phis: 4,
            phi_ratio: 0.5,
            norm_groups: 4,
        }
    }

    #[test]
    fn training_moves_encoder_codebook_and_phi() {
        let device = Device::flex().autodiff();
        let vae = tiny().init(&device);
        let schedule = ScaleSchedule::square(&[1, 2, 4]).unwrap();
        let image = Tensor::random([2, 3, 8, 8], Distribution::Uniform(-1.0, 1.0), &device);
        let quantised = vae.quantise(vae.encode(image.clone()), &schedule, 0.25);
        assert_eq!(quantised.codes.len(), 3);
        let error = (vae.reconstruct(quantised.latent) - image).square().mean();
        let grads = (error + quantised.loss).backward();
        let moved = |gradient: Option<Tensor<4>>| {
            let size: f32 = gradient.expect("a gradient").abs().sum().into_scalar();
            assert!(size > 0.0 && size.is_finite());
        };
        moved(vae.encoder.conv_in.weight.grad(&grads));
        moved(vae.decoder.conv_out.weight.grad(&grads));
        moved(vae.phi.convs[0].weight.grad(&grads));
        let codebook = vae.codebook.embedding.grad(&grads).expect("a gradient");
        assert!(codebook.abs().sum().into_scalar::<f32>() > 0.0);
    }

    #[test]
    fn codes_reproduce_the_sum_and_images_need_not_be_square() {
        let device = Device::flex();
        let vae = tiny().init(&device);
        let scales = vec![
            crate::schedule::Scale::image(1, 2),
            crate::schedule::Scale::image(2, 3),
            crate::schedule::Scale::image(3, 5),
        ];
        let schedule = ScaleSchedule::new(scales).unwrap();
        let image = Tensor::random([1, 3, 6, 10], Distribution::Uniform(-1.0, 1.0), &device);
        let encoded = vae.encode_codes(image, &schedule);
        let sum = vae.pyramid().decode(&encoded.codes, &schedule);
        sum.into_data().assert_eq(&encoded.sum.into_data(), true);
        let image = vae.decode_codes(&encoded.codes[..2], &schedule);
        assert_eq!(image.dims(), [1, 3, 6, 10]);
    }
}
