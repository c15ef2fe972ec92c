//! The decoder on a card: feature maps are cells `[b t h w, c]` in f32, and convolutions multiply in f16.

use burn::tensor::Tensor;
use nextscale_tokenizer::card::cells::{self, Cells, Condition, Grid, channel_norm_silu};
use nextscale_tokenizer::cpu::is_cuda;

use super::decoder::{Decoder, DecoderBlock};
use super::resample::{Up, merge_first};
use crate::conv3d::{CausalConv, FrameCache};
use crate::norm::LatentNorm;

/// Whether [`decode`] takes a latent: it is on a CUDA card and not recorded for gradients.
pub(super) fn runs(z: &Tensor<5>) -> bool {
    is_cuda(&z.device()) && !z.is_autodiff()
}

/// [`Decoder::forward`] of a latent on a card.
pub(super) fn decode(decoder: &Decoder, z: Tensor<5>, cache: &mut FrameCache) -> Tensor<5> {
    let [b, c, t, h, w] = z.dims();
    let cells = z.permute([0, 2, 3, 4, 1]).reshape([b * t * h * w, c]);
    let z = Latent {
        cells,
        grid: [b, t, h, w],
        first: cache.is_at_start(),
    };
    let mut grid = z.grid;
    let mut x = convolve(z.read(), &decoder.conv_in, grid, cache, None);
    for one in &decoder.mid {
        x = block(x, one, &z, grid, cache);
    }
    for level in &decoder.levels {
        for one in &level.blocks {
            x = block(x, one, &z, grid, cache);
        }
        if let Some(up) = &level.up {
            (x, grid) = upsample(x, up, z.first, grid, cache);
        }
    }
    let normed = z.norm_silu(x, &decoder.norm_out, grid);
    let x = convolve(normed, &decoder.conv_out, grid, cache, None);
    cache.finish_chunk();
    let ([b, t, h, w], [_, made]) = (grid, x.dims());
    x.reshape([b, t, h, w, made]).permute([0, 4, 1, 2, 3])
}

/// The latent of a chunk.
struct Latent {
    cells: Tensor<2>,
    grid: Grid,
    /// Whether the chunk is the first of a clip: its first frame stands for one frame.
    first: bool,
}

impl Latent {
    fn read(&self) -> Cells {
        Cells::of(self.cells.clone())
    }

    /// [`LatentNorm::forward_silu`] of the cells of a grid.
    fn norm_silu(&self, x: Tensor<2>, norm: &LatentNorm, grid: Grid) -> Cells {
        let pointwise = |conv: &CausalConv| {
            let (weight, bias) = (conv.weight.val(), conv.bias.val());
            cells::convolve(self.read(), weight, bias, self.grid, false, None)
        };
        let condition = Condition {
            scale: pointwise(&norm.conv_y),
            shift: pointwise(&norm.conv_b),
            grid: self.grid,
            first: self.first,
        };
        let gamma = norm.norm.gamma.val().flatten(0, 3);
        channel_norm_silu(x, gamma, grid, Some(&condition))
    }
}

fn block(
    x: Tensor<2>,
    block: &DecoderBlock,
    z: &Latent,
    grid: Grid,
    cache: &mut FrameCache,
) -> Tensor<2> {
    let normed = z.norm_silu(x.clone(), &block.norm1, grid);
    let y = convolve(normed, &block.conv1, grid, cache, None);
    let normed = z.norm_silu(y, &block.norm2, grid);
    convolve(normed, &block.conv2, grid, cache, Some(x))
}

/// A causal convolution of the cells of a grid, plus a residual.
fn convolve(
    cells: Cells,
    conv: &CausalConv,
    grid: Grid,
    cache: &mut FrameCache,
    residual: Option<Tensor<2>>,
) -> Tensor<2> {
    let [_, _, taps, _, _] = conv.weight.dims();
    let [b, t, h, w] = grid;
    let cells = cells.map(|x| {
        if taps == 1 {
            return x;
        }
        let [_, c] = x.dims();
        let x = cache.extend(x.reshape([b, t, h, w, c]), 1, taps - 1);
        x.reshape([b * (t + taps - 1) * h * w, c])
    });
    let (weight, bias) = (conv.weight.val(), conv.bias.val());
    cells::convolve(cells, weight, bias, grid, false, residual)
}

/// [`Up::forward`], and the grid of the result.
fn upsample(
    x: Tensor<2>,
    up: &Up,
    first: bool,
    grid: Grid,
    cache: &mut FrameCache,
) -> (Tensor<2>, Grid) {
    let ([b, t, h, w], [_, c]) = (grid, x.dims());
    let gamma = up.norm.gamma.val().flatten(0, 3);
    let normed = channel_norm_silu(x.clone(), gamma, grid, None);
    let y = convolve(normed, &up.conv, grid, cache, None);
    let [_, wide] = y.dims();
    let (s, p) = (up.space, up.time);
    let made = wide / (s * s * p);
    let sum = y + x.repeat_dim(1, wide / c);
    let unfolded = sum
        .reshape([b, t, h, w, p, s, s, made])
        .permute([0, 1, 4, 2, 5, 3, 6, 7]);
    let frames = unfolded.reshape([b, t * p, s * h * s * w * made]);
    let frames = if first {
        merge_first(frames, 1, p)
    } else {
        frames
    };
    let grid = [b, frames.dims()[1], s * h, s * w];
    (frames.reshape([grid.iter().product(), made]), grid)
}
