//! The decoder: latent to pixels.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use nextscale_tokenizer::conv::{Conv, GroupNorm, ResBlock};

use super::{encoder::Mid, model::BsqVaeConfig};

/// Convolution, two middle blocks, levels of residual blocks with upsampling between them, norm, convolution.
#[derive(Module, Debug)]
pub struct Decoder {
    /// d channels to those of the coarsest level.
    pub conv_in: Conv,
    /// Middle blocks, at the coarsest level.
    pub mid: Mid,
    /// Levels, stored fine to coarse and run coarse to fine.
    pub up: Vec<Up>,
    /// Before the last convolution.
    pub norm_out: GroupNorm,
    /// To the pixels of a patch.
    pub conv_out: Conv,
}

/// One level of the decoder.
#[derive(Module, Debug)]
pub struct Up {
    /// Residual blocks; the first one changes the channels.
    pub block: Vec<ResBlock>,
    /// Doubles the sides; `None` at the finest level.
    pub upsample: Option<Conv>,
}

impl Decoder {
    pub(super) fn init(config: &BsqVaeConfig, device: &Device) -> Self {
        let mult = &config.decoder_mult;
        let mut channels = mult[mult.len() - 1] * config.base_channels;
        let conv_in = Conv::init(config.bits, channels, 3, device);
        let mid = Mid::init(config, channels, device);
        let mut up = Vec::new();
        for (level, mult) in mult.iter().enumerate().rev() {
            let mut block = Vec::new();
            for _ in 0..config.decoder_blocks {
                let to = mult * config.base_channels;
                block.push(ResBlock::init(channels, to, |c| config.groups(c), device));
                channels = to;
            }
            let upsample = (level > 0).then(|| Conv::init(channels, channels, 3, device));
            up.push(Up { block, upsample });
        }
        up.reverse();
        Self {
            conv_in,
            mid,
            up,
            norm_out: GroupNorm::init(channels, config.groups(channels), device),
            conv_out: Conv::init(
                channels,
                3 * config.pixel_patch * config.pixel_patch,
                3,
                device,
            ),
        }
    }

    /// Latent `[b, d, h, w]` to pixels, not clamped, as patches of `p x p`: `[b, 3 p p, h s/p, w s/p]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.mid.forward(self.conv_in.forward(x));
        for level in self.up.iter().rev() {
            for block in &level.block {
                x = block.forward(x);
            }
            if let Some(upsample) = &level.upsample {
                x = upsample.forward_up(x);
            }
        }
        self.conv_out.forward(self.norm_out.forward_silu(x))
    }
}
