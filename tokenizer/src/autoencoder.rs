//! Encoder and decoder of the image tokenizers: levels of residual blocks with a resampling in between and, in VAR's,
//! attention at the coarsest level and in the middle.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use crate::conv::{Conv, GroupNorm, ResBlock, SpatialAttention};

/// The sizes of an encoder or a decoder.
#[derive(Debug, Clone, Copy)]
pub struct LevelConfig<'a> {
    /// Channels of the pixels, or of a patch of them.
    pub pixels: usize,
    /// Channels of the latent.
    pub latent: usize,
    /// Channels of the encoder after its first convolution.
    pub base_channels: usize,
    /// Channels of each level as multiples of `base_channels`, fine to coarse.
    pub mult: &'a [usize],
    /// Residual blocks per level.
    pub blocks: usize,
    /// Whether there is attention: after each block of the coarsest level, and in the middle.
    pub attends: bool,
    /// Groups of every norm; `None` for 32, or 24 where 32 does not divide the channels.
    pub norm_groups: Option<usize>,
}

/// The convolution of a downsampling or an upsampling, c to c, 3 x 3, as the parameters of a model name it.
pub trait Resample: Module {
    /// A convolution with random weights.
    fn init(channels: usize, device: &Device) -> Self;
    /// The convolution.
    fn conv(&self) -> &Conv;
}

/// The convolution itself: `downsample.weight`.
impl Resample for Conv {
    fn init(channels: usize, device: &Device) -> Self {
        Conv::init(channels, channels, 3, device)
    }

    fn conv(&self) -> &Conv {
        self
    }
}

/// A convolution under a name of its own: `downsample.conv.weight`.
#[derive(Module, Debug)]
pub struct NamedConv {
    /// c to c, 3 x 3.
    pub conv: Conv,
}

impl Resample for NamedConv {
    fn init(channels: usize, device: &Device) -> Self {
        let conv = Conv::init(channels, channels, 3, device);
        Self { conv }
    }

    fn conv(&self) -> &Conv {
        &self.conv
    }
}

/// Pixels to latent: convolution, levels with downsampling between them, middle, norm, convolution.
#[derive(Module, Debug)]
pub struct Encoder<R> {
    /// The pixels to the channels of the finest level.
    pub conv_in: Conv,
    /// Levels, fine to coarse.
    pub down: Vec<Down<R>>,
    /// At the coarsest level.
    pub mid: Mid,
    /// Before the last convolution.
    pub norm_out: GroupNorm,
    /// To the channels of the latent.
    pub conv_out: Conv,
}

/// One level of the encoder.
#[derive(Module, Debug)]
pub struct Down<R> {
    /// Residual blocks; the first one changes the channels.
    pub block: Vec<ResBlock>,
    /// After each block of the coarsest level, if there is attention.
    pub attn: Vec<SpatialAttention>,
    /// Halves the sides; none at the coarsest level.
    pub downsample: Option<R>,
}

/// One level of the decoder.
#[derive(Module, Debug)]
pub struct Up<R> {
    /// Residual blocks; the first one changes the channels.
    pub block: Vec<ResBlock>,
    /// After each block of the coarsest level, if there is attention.
    pub attn: Vec<SpatialAttention>,
    /// Doubles the sides; none at the finest level.
    pub upsample: Option<R>,
}

/// Block, attention if there is any, block.
#[derive(Module, Debug)]
pub struct Mid {
    /// First.
    pub block_1: ResBlock,
    /// In between.
    pub attn_1: Option<SpatialAttention>,
    /// Second.
    pub block_2: ResBlock,
}

/// Latent to pixels: convolution, middle, levels with upsampling between them, norm, convolution.
#[derive(Module, Debug)]
pub struct Decoder<R> {
    /// The latent to the channels of the coarsest level.
    pub conv_in: Conv,
    /// At the coarsest level.
    pub mid: Mid,
    /// Levels, indexed fine to coarse and run coarse to fine.
    pub up: Vec<Up<R>>,
    /// Before the last convolution.
    pub norm_out: GroupNorm,
    /// To the channels of the pixels.
    pub conv_out: Conv,
    /// Whether a CUDA card multiplies in f16, by kernels of this project; otherwise in f32, by those of the tensor library.
    pub in_f16: bool,
}

impl LevelConfig<'_> {
    fn groups(&self, channels: usize) -> usize {
        match self.norm_groups {
            Some(groups) => groups,
            None if channels.is_multiple_of(32) => 32,
            None => 24,
        }
    }

    fn block(&self, from: usize, to: usize, device: &Device) -> ResBlock {
        ResBlock::init(from, to, |c| self.groups(c), device)
    }

    fn attention(&self, channels: usize, device: &Device) -> SpatialAttention {
        SpatialAttention::init(channels, self.groups(channels), device)
    }

    fn norm(&self, channels: usize, device: &Device) -> GroupNorm {
        GroupNorm::init(channels, self.groups(channels), device)
    }

    /// The blocks and attentions of level `i`, `from` to `to` channels.
    fn level(
        &self,
        i: usize,
        [from, to]: [usize; 2],
        device: &Device,
    ) -> (Vec<ResBlock>, Vec<SpatialAttention>) {
        let block = |n| self.block(if n == 0 { from } else { to }, to, device);
        let attends = self.attends && i + 1 == self.mult.len();
        let attentions = if attends { self.blocks } else { 0 };
        let blocks = (0..self.blocks).map(block).collect();
        let attention = (0..attentions).map(|_| self.attention(to, device));
        (blocks, attention.collect())
    }

    fn mid(&self, channels: usize, device: &Device) -> Mid {
        Mid {
            block_1: self.block(channels, channels, device),
            attn_1: self.attends.then(|| self.attention(channels, device)),
            block_2: self.block(channels, channels, device),
        }
    }
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

impl Mid {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.block_1.forward(x);
        if let Some(attention) = &self.attn_1 {
            x = attention.forward(x);
        }
        self.block_2.forward(x)
    }
}

impl<R: Resample> Encoder<R> {
    /// An encoder with random weights.
    ///
    /// # Panics
    /// If the norm groups do not divide the channels of a level.
    pub fn init(config: &LevelConfig, device: &Device) -> Self {
        let mut channels = config.base_channels;
        let conv_in = Conv::init(config.pixels, channels, 3, device);
        let mut down = Vec::new();
        for (i, mult) in config.mult.iter().enumerate() {
            let to = mult * config.base_channels;
            let (block, attn) = config.level(i, [channels, to], device);
            channels = to;
            let last = i + 1 == config.mult.len();
            down.push(Down {
                block,
                attn,
                downsample: (!last).then(|| R::init(channels, device)),
            });
        }
        Self {
            conv_in,
            down,
            mid: config.mid(channels, device),
            norm_out: config.norm(channels, device),
            conv_out: Conv::init(channels, config.latent, 3, device),
        }
    }

    /// Pixels `[b, 3, h, w]`, or the patches of them, to `[b, c, h/s, w/s]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.forward(x);
        for level in &self.down {
            x = run(x, &level.block, &level.attn);
            if let Some(downsample) = &level.downsample {
                x = downsample.conv().forward_down(x);
            }
        }
        let x = self.mid.forward(x);
        self.conv_out.forward(self.norm_out.forward_silu(x))
    }
}

impl<R: Resample> Decoder<R> {
    /// A decoder with random weights.
    ///
    /// # Panics
    /// If there is no level, or the norm groups do not divide the channels of a level.
    pub fn init(config: &LevelConfig, device: &Device) -> Self {
        let mut channels = config.mult[config.mult.len() - 1] * config.base_channels;
        let conv_in = Conv::init(config.latent, channels, 3, device);
        let mid = config.mid(channels, device);
        let mut up = Vec::new();
        for (i, mult) in config.mult.iter().enumerate().rev() {
            let to = mult * config.base_channels;
            let (block, attn) = config.level(i, [channels, to], device);
            channels = to;
            up.push(Up {
                block,
                attn,
                upsample: (i > 0).then(|| R::init(channels, device)),
            });
        }
        up.reverse();
        Self {
            conv_in,
            mid,
            up,
            norm_out: config.norm(channels, device),
            conv_out: Conv::init(channels, config.pixels, 3, device),
            in_f16: false,
        }
    }

    /// `[b, c, h, w]` to pixels `[b, 3, h s, w s]`, or the patches of them, not clamped.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "cuda")]
        if let Some(pixels) = crate::card::decode::decode(self, &x) {
            return pixels;
        }
        self.conv_out.forward(self.features(x))
    }

    /// `[b, c, h, w]` to what the last convolution reads, `[b, c', h s, w s]`: for training.
    pub fn features(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.start(x);
        for level in self.up.iter().rev() {
            x = level.forward(x);
        }
        self.norm_out.forward_silu(x)
    }

    /// What comes before the levels: convolution and middle.
    pub fn start(&self, x: Tensor<4>) -> Tensor<4> {
        self.mid.forward(self.conv_in.forward(x))
    }
}

impl<R: Resample> Up<R> {
    /// Blocks and upsampling.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.forward_blocks(x);
        match &self.upsample {
            Some(upsample) => upsample.conv().forward_up(x),
            None => x,
        }
    }

    /// Blocks alone.
    pub fn forward_blocks(&self, x: Tensor<4>) -> Tensor<4> {
        run(x, &self.block, &self.attn)
    }
}
