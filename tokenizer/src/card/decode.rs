//! The decoder of an auto-encoder on a card.

use burn::tensor::{DType, Tensor};

use crate::autoencoder::{Decoder, Resample};
use crate::card::cells::{self, Cells, Grid, norm_silu};
use crate::card::norm;
use crate::conv::{Conv, GroupNorm, ResBlock, SpatialAttention};
use crate::cpu::is_cuda;

/// The result of [`Decoder::forward`], or none if the decoder multiplies in f32, or these kernels do not take its channels.
pub(crate) fn decode<R: Resample>(decoder: &Decoder<R>, latent: &Tensor<4>) -> Option<Tensor<4>> {
    if !is_cuda(&latent.device()) || latent.is_autodiff() {
        return None;
    }
    let [b, c, h, w] = latent.dims();
    begin_with_large_pages(decoder, b * h * w, latent);
    if !decoder.in_f16 || !takes(decoder) {
        return None;
    }
    let mut grid = [b, 1, h, w];
    let cells = latent.clone().permute([0, 2, 3, 1]).reshape([b * h * w, c]);
    let mut x = convolve(Cells::of(cells), &decoder.conv_in, grid, false, None);
    let mid = &decoder.mid;
    x = attend(block(x, &mid.block_1, grid), mid.attn_1.as_ref(), grid);
    x = block(x, &mid.block_2, grid);
    for level in decoder.up.iter().rev() {
        for (i, one) in level.block.iter().enumerate() {
            x = attend(block(x, one, grid), level.attn.get(i), grid);
        }
        if let Some(upsample) = &level.upsample {
            grid = [b, 1, 2 * grid[2], 2 * grid[3]];
            x = convolve(Cells::of(x), upsample.conv(), grid, true, None);
        }
    }
    let normed = norm_silu(x, &decoder.norm_out, b);
    let pixels = convolve(normed, &decoder.conv_out, grid, false, None);
    let [_, made] = pixels.dims();
    let [_, _, h, w] = grid;
    Some(pixels.reshape([b, h, w, made]).permute([0, 3, 1, 2]))
}

/// Takes memory for the largest feature map of a latent with so many cells and lets go of it. Pages of the pools are as large as
/// the largest tensor so far: if maps grew level by level, those that were taken for smaller ones would stay beside the larger
/// ones.
fn begin_with_large_pages<R: Resample>(decoder: &Decoder<R>, mut cells: usize, like: &Tensor<4>) {
    let mut largest = 0;
    for level in decoder.up.iter().rev() {
        if let Some(upsample) = &level.upsample {
            cells *= 4;
            let [channels, ..] = upsample.conv().weight.dims();
            largest = largest.max(cells * channels);
        }
    }
    if largest > 0 {
        drop(Tensor::<1>::empty([largest], (&like.device(), DType::F32)));
    }
}

fn takes<R: Resample>(decoder: &Decoder<R>) -> bool {
    let levels = decoder.up.iter();
    let middle = [&decoder.mid.block_1, &decoder.mid.block_2];
    let fits = |norm: &GroupNorm| norm::takes(norm.weight.dims()[0]);
    let mut blocks = levels.flat_map(|level| &level.block).chain(middle);
    fits(&decoder.norm_out) && blocks.all(|b| fits(&b.norm1) && fits(&b.norm2))
}

/// Attention, where there is one, by the tensor library: its cells are few.
fn attend(x: Tensor<2>, attention: Option<&SpatialAttention>, grid: Grid) -> Tensor<2> {
    let Some(attention) = attention else {
        return x;
    };
    let ([b, _, h, w], [n, c]) = (grid, x.dims());
    let image = x.reshape([b, h, w, c]).permute([0, 3, 1, 2]);
    let image = attention.forward(image);
    image.permute([0, 2, 3, 1]).reshape([n, c])
}

fn block(x: Tensor<2>, block: &ResBlock, grid: Grid) -> Tensor<2> {
    let normed = norm_silu(x.clone(), &block.norm1, grid[0]);
    let y = convolve(normed, &block.conv1, grid, false, None);
    let normed = norm_silu(y, &block.norm2, grid[0]);
    let x = match &block.nin_shortcut {
        Some(shortcut) => convolve(Cells::of(x), shortcut, grid, false, None),
        None => x,
    };
    convolve(normed, &block.conv2, grid, false, Some(x))
}

fn convolve(
    cells: Cells,
    conv: &Conv,
    grid: Grid,
    up: bool,
    residual: Option<Tensor<2>>,
) -> Tensor<2> {
    let weight = conv.weight.val().unsqueeze_dim(2);
    cells::convolve(cells, weight, conv.bias.val(), grid, up, residual)
}
