use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{
    config::InfinityStarVaeConfig,
    resample::{Down, Resample},
};
use crate::{
    conv3d::{CausalConv, FrameCache},
    norm::ChannelNorm,
};

/// A residual block: twice norm, SiLU and convolution.
#[derive(Module, Debug)]
pub struct EncoderBlock {
    /// Before the first convolution.
    pub norm1: ChannelNorm,
    /// First convolution.
    pub conv1: CausalConv,
    /// Before the second convolution.
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

/// One level: residual blocks and downsampling.
#[derive(Module, Debug)]
pub struct EncoderLevel {
    /// The blocks.
    pub blocks: Vec<EncoderBlock>,
    /// Downsampling to the next level.
    pub down: Option<Down>,
}

/// The encoder: pixels to moments of the latent.
#[derive(Module, Debug)]
pub struct Encoder {
    /// The pixels of a patch to the channels of the finest level.
    pub conv_in: CausalConv,
    /// Fine to coarse.
    pub levels: Vec<EncoderLevel>,
    /// Two blocks at the coarsest size.
    pub mid: Vec<EncoderBlock>,
    /// Before the last convolution.
    pub norm_out: ChannelNorm,
    /// To means followed by logarithms of variances.
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

    /// Encodes the next chunk of a clip, pixels in [-1, 1] with patches folded into channels, to moments
    /// `[b, 2 z, t', 2 h/s, 2 w/s]`.
    ///
    /// The first chunk has `1 + k p` frames, the others `k p`, with `p` frames per latent frame.
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
