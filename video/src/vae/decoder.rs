use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{
    config::InfinityStarVaeConfig,
    resample::{Resample, Up},
};
use crate::{
    conv3d::{CausalConv, FrameCache},
    norm::LatentNorm,
};

/// A residual block: twice latent-conditioned norm, SiLU and convolution.
#[derive(Module, Debug)]
pub struct DecoderBlock {
    /// Before the first convolution.
    pub norm1: LatentNorm,
    /// First convolution.
    pub conv1: CausalConv,
    /// Before the second convolution.
    pub norm2: LatentNorm,
    /// Second convolution.
    pub conv2: CausalConv,
}

impl DecoderBlock {
    fn init(channels: usize, latent: usize, device: &Device) -> Self {
        Self {
            norm1: LatentNorm::init(channels, latent, device),
            conv1: CausalConv::init(channels, channels, 3, device),
            norm2: LatentNorm::init(channels, latent, device),
            conv2: CausalConv::init(channels, channels, 3, device),
        }
    }

    fn forward(
        &self,
        x: Tensor<5>,
        z: &Tensor<5>,
        first: bool,
        cache: &mut FrameCache,
    ) -> Tensor<5> {
        let y = self.norm1.forward_silu(x.clone(), z, first);
        let y = self.conv1.forward(y, cache);
        let y = self.norm2.forward_silu(y, z, first);
        x + self.conv2.forward(y, cache)
    }
}

/// One level: residual blocks and upsampling.
#[derive(Module, Debug)]
pub struct DecoderLevel {
    /// The blocks.
    pub blocks: Vec<DecoderBlock>,
    /// Upsampling to the next level.
    pub up: Option<Up>,
}

/// The decoder: latent to pixels.
#[derive(Module, Debug)]
pub struct Decoder {
    /// The latent's channels to those of the coarsest level.
    pub conv_in: CausalConv,
    /// Two blocks at the coarsest size.
    pub mid: Vec<DecoderBlock>,
    /// Coarse to fine.
    pub levels: Vec<DecoderLevel>,
    /// Before the last convolution.
    pub norm_out: LatentNorm,
    /// To the pixels of a patch.
    pub conv_out: CausalConv,
    /// Whether a CUDA card multiplies in f16, by kernels of this project; otherwise in f32, by those of the tensor library.
    pub in_f16: bool,
}

impl Decoder {
    pub(super) fn init(config: &InfinityStarVaeConfig, device: &Device) -> Self {
        let (widths, latent) = (&config.channels, config.latent);
        let last = widths[widths.len() - 1];
        // Mirrors the encoder: its last level is the first here.
        let levels = (0..config.levels.len()).rev().map(|i| {
            let (from, resample) = (widths[i + 1], config.levels[i]);
            let block = |_| DecoderBlock::init(from, latent, device);
            DecoderLevel {
                blocks: (0..config.decoder_blocks).map(block).collect(),
                up: (resample != Resample::None)
                    .then(|| Up::init(from, widths[i], resample, device)),
            }
        });
        Self {
            conv_in: CausalConv::init(latent, last, 3, device),
            mid: (0..2)
                .map(|_| DecoderBlock::init(last, latent, device))
                .collect(),
            levels: levels.collect(),
            norm_out: LatentNorm::init(widths[0], latent, device),
            conv_out: CausalConv::init(widths[0], config.pixel_channels(), 3, device),
            in_f16: false,
        }
    }

    /// Decodes the next chunk of a clip, `[b, z, t, h, w]`, to pixels in about [-1, 1], not clamped, with patches folded into
    /// channels. The first latent frame of a clip gives one frame, every other one `p`.
    pub fn forward(&self, z: Tensor<5>, cache: &mut FrameCache) -> Tensor<5> {
        #[cfg(feature = "cuda")]
        if self.in_f16 && super::card::runs(&z) {
            return super::card::decode(self, z, cache);
        }
        let x = self.features(z, cache);
        let x = self.conv_out.forward(x, cache);
        cache.finish_chunk();
        x
    }

    /// The next chunk of a clip, `[b, z, t, h, w]`, to what the last convolution reads.
    pub(super) fn features(&self, z: Tensor<5>, cache: &mut FrameCache) -> Tensor<5> {
        let first = cache.is_at_start();
        let mut x = self.conv_in.forward(z.clone(), cache);
        for block in &self.mid {
            x = block.forward(x, &z, first, cache);
        }
        for level in &self.levels {
            for block in &level.blocks {
                x = block.forward(x, &z, first, cache);
            }
            if let Some(up) = &level.up {
                x = up.forward(x, first, cache);
            }
        }
        self.norm_out.forward_silu(x, &z, first)
    }
}
