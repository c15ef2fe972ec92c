//! The encoder: pixels to latent.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use nextscale_tokenizer::conv::{Conv, GroupNorm, ResBlock};

use super::model::BsqVaeConfig;

/// Convolution, levels of residual blocks with downsampling between them, two middle blocks, norm, convolution.
#[derive(Module, Debug)]
pub struct Encoder {
    /// The pixels of a patch to the channels of the finest level.
    pub conv_in: Conv,
    /// Levels, fine to coarse.
    pub down: Vec<Down>,
    /// Middle blocks, at the coarsest level.
    pub mid: Mid,
    /// Before the last convolution.
    pub norm_out: GroupNorm,
    /// To d channels.
    pub conv_out: Conv,
}

/// One level of the encoder.
#[derive(Module, Debug)]
pub struct Down {
    /// Residual blocks; the first one changes the channels.
    pub block: Vec<ResBlock>,
    /// Halves the sides; `None` at the coarsest level.
    pub downsample: Option<Conv>,
}

/// The two blocks in the middle.
#[derive(Module, Debug)]
pub struct Mid {
    /// First.
    pub block_1: ResBlock,
    /// Second.
    pub block_2: ResBlock,
}

impl Mid {
    pub(super) fn init(config: &BsqVaeConfig, channels: usize, device: &Device) -> Self {
        let block = || ResBlock::init(channels, channels, |c| config.groups(c), device);
        Self {
            block_1: block(),
            block_2: block(),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.block_2.forward(self.block_1.forward(x))
    }
}

impl Encoder {
    pub(super) fn init(config: &BsqVaeConfig, device: &Device) -> Self {
        let mut channels = config.base_channels;
        let pixels = 3 * config.pixel_patch * config.pixel_patch;
        let conv_in = Conv::init(pixels, channels, 3, device);
        let mut down = Vec::new();
        for (level, mult) in config.encoder_mult.iter().enumerate() {
            let mut block = Vec::new();
            for _ in 0..config.encoder_blocks {
                let to = mult * config.base_channels;
                block.push(ResBlock::init(channels, to, |c| config.groups(c), device));
                channels = to;
            }
            let last = level + 1 == config.encoder_mult.len();
            let downsample = (!last).then(|| Conv::init(channels, channels, 3, device));
            down.push(Down { block, downsample });
        }
        Self {
            conv_in,
            down,
            mid: Mid::init(config, channels, device),
            norm_out: GroupNorm::init(channels, config.groups(channels), device),
            conv_out: Conv::init(channels, config.bits, 3, device),
        }
    }

    /// Pixels as patches of `p x p`, `[b, 3 p p, h/p, w/p]`, to latent `[b, d, h/s, w/s]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.forward(x);
        for level in &self.down {
            for block in &level.block {
                x = block.forward(x);
            }
            if let Some(downsample) = &level.downsample {
                x = downsample.forward_down(x);
            }
        }
        let x = self.mid.forward(x);
        self.conv_out.forward(self.norm_out.forward_silu(x))
    }
}
