//! Encoder and decoder: levels of residual blocks, attention at the coarsest one and in the middle.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::config::VqVaeConfig;
use crate::conv::{Conv, GroupNorm, ResBlock, SpatialAttention};

/// Pixels to latent: convolution, levels with downsampling between them, middle, norm, convolution.
#[derive(Module, Debug)]
pub struct Encoder {
    /// 3 channels to the finest level.
    pub conv_in: Conv,
    /// Levels, fine to coarse.
    pub down: Vec<Down>,
    /// At the coarsest level.
    pub mid: Mid,
    /// Before the last convolution.
    pub norm_out: GroupNorm,
    /// To c channels.
    pub conv_out: Conv,
}

/// One level of the encoder.
#[derive(Module, Debug)]
pub struct Down {
    /// Residual blocks; the first one changes the channels.
    pub block: Vec<ResBlock>,
    /// After each block of the coarsest level.
    pub attn: Vec<SpatialAttention>,
    /// Halves the sides; none at the coarsest level.
    pub downsample: Option<Resample>,
}

/// One level of the decoder.
#[derive(Module, Debug)]
pub struct Up {
    /// Residual blocks; the first one changes the channels.
    pub block: Vec<ResBlock>,
    /// After each block of the coarsest level.
    pub attn: Vec<SpatialAttention>,
    /// Doubles the sides; none at the finest level.
    pub upsample: Option<Resample>,
}

/// The convolution of a downsampling or an upsampling.
#[derive(Module, Debug)]
pub struct Resample {
    /// c to c, 3 x 3.
    pub conv: Conv,
}

/// Block, attention, block.
#[derive(Module, Debug)]
pub struct Mid {
    /// First.
    pub block_1: ResBlock,
    /// In between.
    pub attn_1: SpatialAttention,
    /// Second.
    pub block_2: ResBlock,
}

/// Latent to pixels: convolution, middle, levels with upsampling between them, norm, convolution.
#[derive(Module, Debug)]
pub struct Decoder {
    /// c channels to the coarsest level.
    pub conv_in: Conv,
    /// At the coarsest level.
    pub mid: Mid,
    /// Levels, indexed fine to coarse and run coarse to fine.
    pub up: Vec<Up>,
    /// Before the last convolution.
    pub norm_out: GroupNorm,
    /// To 3 channels.
    pub conv_out: Conv,
}

/// `count` blocks from `from` to `to` channels, each with an attention if `attends` is set.
fn level(
    config: &VqVaeConfig,
    [from, to]: [usize; 2],
    count: usize,
    attends: bool,
    device: &Device,
) -> (Vec<ResBlock>, Vec<SpatialAttention>) {
    let groups = config.norm_groups;
    let block = (0..count).map(|i| {
        let from = if i == 0 { from } else { to };
        ResBlock::init(from, to, |_| groups, device)
    });
    let attentions = if attends { count } else { 0 };
    let attn = (0..attentions).map(|_| SpatialAttention::init(to, groups, device));
    (block.collect(), attn.collect())
}

/// Runs every block, each followed by its attention if there is one.
fn run(mut x: Tensor<4>, block: &[ResBlock], attn: &[SpatialAttention]) -> Tensor<4> {
    for (i, block) in block.iter().enumerate() {
        x = block.forward(x);
        if let Some(attention) = attn.get(i) {
            x = attention.forward(x);
        }
    }
    x
}

fn resample(channels: usize, device: &Device) -> Resample {
    Resample {
        conv: Conv::init(channels, channels, 3, device),
    }
}

impl Mid {
    fn init(config: &VqVaeConfig, channels: usize, device: &Device) -> Self {
        let block = || ResBlock::init(channels, channels, |_| config.norm_groups, device);
        Self {
            block_1: block(),
            attn_1: SpatialAttention::init(channels, config.norm_groups, device),
            block_2: block(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.attn_1.forward(self.block_1.forward(x));
        self.block_2.forward(x)
    }
}

impl Encoder {
    pub(super) fn init(config: &VqVaeConfig, device: &Device) -> Self {
        let mut channels = config.base_channels;
        let conv_in = Conv::init(3, channels, 3, device);
        let mut down = Vec::new();
        for (i, mult) in config.mult.iter().enumerate() {
            let last = i + 1 == config.mult.len();
            let to = mult * config.base_channels;
            let (block, attn) = level(config, [channels, to], config.blocks, last, device);
            channels = to;
            let downsample = (!last).then(|| resample(channels, device));
            down.push(Down {
                block,
                attn,
                downsample,
            });
        }
        Self {
            conv_in,
            down,
            mid: Mid::init(config, channels, device),
            norm_out: GroupNorm::init(channels, config.norm_groups, device),
            conv_out: Conv::init(channels, config.channels, 3, device),
        }
    }

    /// Pixels `[b, 3, h, w]` to `[b, c, h/s, w/s]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.forward(x);
        for level in &self.down {
            x = run(x, &level.block, &level.attn);
            if let Some(downsample) = &level.downsample {
                x = downsample.conv.forward_down(x);
            }
        }
        let x = self.mid.forward(x);
        self.conv_out.forward(self.norm_out.forward_silu(x))
    }
}

impl Decoder {
    pub(super) fn init(config: &VqVaeConfig, device: &Device) -> Self {
        let coarsest = config.mult.len() - 1;
        let mut channels = config.mult[coarsest] * config.base_channels;
        let conv_in = Conv::init(config.channels, channels, 3, device);
        let mid = Mid::init(config, channels, device);
        let mut up = Vec::new();
        for (i, mult) in config.mult.iter().enumerate().rev() {
            let to = mult * config.base_channels;
            let count = config.blocks + 1;
            let (block, attn) = level(config, [channels, to], count, i == coarsest, device);
            channels = to;
            let upsample = (i > 0).then(|| resample(channels, device));
            up.push(Up {
                block,
                attn,
                upsample,
            });
        }
        up.reverse();
        Self {
            conv_in,
            mid,
            up,
            norm_out: GroupNorm::init(channels, config.norm_groups, device),
            conv_out: Conv::init(channels, 3, 3, device),
        }
    }

    /// `[b, c, h, w]` to pixels `[b, 3, h s, w s]`, not clamped.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.mid.forward(self.conv_in.forward(x));
        for level in self.up.iter().rev() {
            x = run(x, &level.block, &level.attn);
            if let Some(upsample) = &level.upsample {
                x = upsample.conv.forward_up(x);
            }
        }
        self.conv_out.forward(self.norm_out.forward_silu(x))
    }
}
