use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{
    InfinityStarVaeConfig,
    resample::{Down, Resample},
};
use crate::{
    conv3d::{CausalConv, FrameCache},
    norm::ChannelNorm,
};

/// Two rounds of norm, SiLU and convolution, added to the input.
#[derive(Module, Debug)]
pub struct EncoderBlock {
    /// On the input.
    pub norm1: ChannelNorm,
    /// First convolution.
    pub conv1: CausalConv,
    /// In between.
    pub norm2: ChannelNorm,
    /// Second convolution.
    pub conv2: CausalConv,
}

impl EncoderBlock {
    fn init(channels: usize, device: &Device) -> Self {
        Self {
            norm1: ChannelNorm::init(channels, device),
            conv1: CausalConv::init(channels, channels, 3, device),
            norm2: ChannelNorm::init(channels, device),
            conv2: CausalConv::init(channels, channels, 3, device),
        }
    }

    fn forward(&self, x: Tensor<5>, cache: &mut FrameCache) -> Tensor<5> {
        let y = self
            .conv1
            .forward(self.norm1.forward_silu(x.clone()), cache);
        let y = self.conv2.forward(self.norm2.forward_silu(y), cache);
        x + y
    }
}

/// Residual blocks, then half the size.
#[derive(Module, Debug)]
pub struct EncoderLevel {
    /// The blocks.
    pub blocks: Vec<EncoderBlock>,
    /// To the next level.
    pub down: Option<Down>,
}

/// Pixels to the moments of the latent.
#[derive(Module, Debug)]
pub struct Encoder {
    /// Three colours to the finest level.
    pub conv_in: CausalConv,
    /// Fine to coarse.
    pub levels: Vec<EncoderLevel>,
    /// Two more blocks at the coarsest size.
    pub mid: Vec<EncoderBlock>,
    /// Before the last convolution.
    pub norm_out: ChannelNorm,
    /// To means, then logarithms of variances.
    pub conv_out: CausalConv,
}

impl Encoder {
    pub(super) fn init(config: &InfinityStarVaeConfig, device: &Device) -> Self {
        let widths = &config.channels;
        let levels = config.levels.iter().enumerate().map(|(i, &resample)| {
            let blocks = (0..config.encoder_blocks).map(|_| EncoderBlock::init(widths[i], device));
            EncoderLevel {
                blocks: blocks.collect(),
                down: (resample != Resample::None)
                    .then(|| Down::init(widths[i], widths[i + 1], resample, device)),
            }
        });
        let last = widths[widths.len() - 1];
        Self {
            conv_in: CausalConv::init(config.pixel_channels(), widths[0], 3, device),
            levels: levels.collect(),
            mid: (0..2).map(|_| EncoderBlock::init(last, device)).collect(),
            norm_out: ChannelNorm::init(last, device),
            conv_out: CausalConv::init(last, 2 * config.latent, 3, device),
        }
    }

    /// The next chunk of a clip: pixels `[b, 3, t, h, w]` in [-1, 1] to moments `[b, 2 z, t', h/s, w/s]`.
    ///
    /// The first chunk has `1 + k p` frames, the others `k p`, with `p` frames a latent frame.
    pub fn forward(&self, frames: Tensor<5>, cache: &mut FrameCache) -> Tensor<5> {
        let first = cache.is_at_start();
        let mut x = self.conv_in.forward(frames, cache);
        for level in &self.levels {
            for block in &level.blocks {
                x = block.forward(x, cache);
            }
            if let Some(down) = &level.down {
                x = down.forward(x, first, cache);
            }
        }
        for block in &self.mid {
            x = block.forward(x, cache);
        }
        let x = self.conv_out.forward(self.norm_out.forward_silu(x), cache);
        cache.finish_chunk();
        x
    }
}
