//! Reading CLIP in OpenAI's layout, in any floating-point format. The sizes follow from the shapes.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::clip::transformer::{Block, HEAD, Linear, Norm};
use crate::error::Result;
use crate::source::Source;

/// What the file should be, and where people get it.
pub const WEIGHTS: &str = "CLIP is OpenAI's ViT-B/32 or ViT-L/14 of https://github.com/openai/CLIP: ViT-B-32.pt, ViT-L-14.pt, or their state dict";

/// The tower of images.
#[derive(Debug)]
pub(super) struct Vision {
    /// `[c, 3, p, p]`.
    pub patches: Tensor<4>,
    /// `[c]`.
    pub class: Tensor<1>,
    /// `[1 + positions, c]`.
    pub positions: Tensor<2>,
    pub norm_before: Norm,
    pub blocks: Vec<Block>,
    pub norm_after: Norm,
    /// `[c, e]`.
    pub projection: Tensor<2>,
    /// Side of the images in pixels.
    pub side: usize,
}

/// The tower of texts.
#[derive(Debug)]
pub(super) struct Text {
    /// `[ids, c]`.
    pub tokens: Tensor<2>,
    /// `[length, c]`.
    pub positions: Tensor<2>,
    pub blocks: Vec<Block>,
    pub norm: Norm,
    /// `[c, e]`.
    pub projection: Tensor<2>,
}

/// Reads both towers.
///
/// # Errors
/// If the file cannot be read, or is no CLIP with a vision transformer.
pub(super) fn read(path: &Path, device: &Device) -> Result<(Vision, Text)> {
    let source = Source::open("clip", path, WEIGHTS)?;
    let reader = Reader { source, device };
    Ok((reader.vision()?, reader.text()?))
}

struct Reader<'a> {
    source: Source,
    device: &'a Device,
}

impl Reader<'_> {
    fn vision(&self) -> Result<Vision> {
        let [width, _, patch, _] = self.source.shape_of("visual.conv1.weight")?;
        let [places, _] = self.source.shape_of("visual.positional_embedding")?;
        let [_, out] = self.source.shape_of("visual.proj")?;
        let grid = places.saturating_sub(1).isqrt();
        if grid * grid + 1 != places {
            let message = format!("its {places} positions are no square and a class");
            return Err(self.source.wrong(message));
        }
        let shape = [width, 3, patch, patch];
        Ok(Vision {
            patches: self.tensor("visual.conv1.weight", shape)?,
            class: self.tensor("visual.class_embedding", [width])?,
            positions: self.tensor("visual.positional_embedding", [places, width])?,
            norm_before: self.norm("visual.ln_pre", width)?,
            blocks: self.blocks("visual.transformer.resblocks.", width)?,
            norm_after: self.norm("visual.ln_post", width)?,
            projection: self.tensor("visual.proj", [width, out])?,
            side: grid * patch,
        })
    }

    fn text(&self) -> Result<Text> {
        let [ids, width] = self.source.shape_of("token_embedding.weight")?;
        let [length, _] = self.source.shape_of("positional_embedding")?;
        let [_, out] = self.source.shape_of("visual.proj")?;
        Ok(Text {
            tokens: self.tensor("token_embedding.weight", [ids, width])?,
            positions: self.tensor("positional_embedding", [length, width])?,
            blocks: self.blocks("transformer.resblocks.", width)?,
            norm: self.norm("ln_final", width)?,
            projection: self.tensor("text_projection", [width, out])?,
        })
    }

    fn blocks(&self, prefix: &str, width: usize) -> Result<Vec<Block>> {
        let count = self.source.count(prefix);
        if count == 0 || !width.is_multiple_of(HEAD) {
            let message = format!("{count} blocks of width {width} under `{prefix}`");
            return Err(self.source.wrong(message));
        }
        (0..count)
            .map(|i| self.block(&format!("{prefix}{i}"), width))
            .collect()
    }

    fn block(&self, name: &str, width: usize) -> Result<Block> {
        let linear = |part: &str, from, to| {
            let weight = format!("{name}.{part}weight");
            self.linear(&weight, &format!("{name}.{part}bias"), from, to)
        };
        Ok(Block {
            norm_1: self.norm(&format!("{name}.ln_1"), width)?,
            qkv: linear("attn.in_proj_", width, 3 * width)?,
            out: linear("attn.out_proj.", width, width)?,
            norm_2: self.norm(&format!("{name}.ln_2"), width)?,
            up: linear("mlp.c_fc.", width, 4 * width)?,
            down: linear("mlp.c_proj.", 4 * width, width)?,
        })
    }

    fn linear(&self, weight: &str, bias: &str, from: usize, to: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.tensor(weight, [to, from])?.transpose(),
            bias: self.tensor(bias, [to])?,
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            weight: self.tensor(&format!("{name}.weight"), [width])?,
            bias: self.tensor(&format!("{name}.bias"), [width])?,
        })
    }

    fn tensor<const N: usize>(&self, name: &str, shape: [usize; N]) -> Result<Tensor<N>> {
        self.source.tensor(name, shape, self.device)
    }
}
