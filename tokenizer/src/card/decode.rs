//! The decoder of an auto-encoder on a card: feature maps are cells row by row, `[b h w, c]` in f32; what a convolution multiplies is
//! in f16.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;

use crate::autoencoder::{Decoder, Resample};
use crate::card::conv::{self, Rule};
use crate::card::norm;
use crate::conv::{Conv, GroupNorm, ResBlock};
use crate::cpu::is_cpu;

/// Feature maps that no norm has made small are divided by it while they are in f16, whose largest number is 65,504.
const SMALLER: f64 = 64.0;

/// Channels that a convolution reads and writes are multiples of it.
const CHANNELS: usize = 8;

/// Channels that the last convolution makes, of which the first are the pixels.
const WIDE: usize = 32;

#[backend_extension(Cube, Fusion)]
pub(super) trait DecoderOps: Backend {
    /// [`conv::convolve`].
    #[fusion(meta = |_x, weight, _bias, _residual, rule| {
        let cells = rule.grid.iter().product::<usize>();
        TensorSpec::new(Shape::new([cells, weight.shape[1]]), DType::F32)
    })]
    fn card_convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        rule: Rule,
    ) -> FloatTensor<Self>;

    /// [`norm::norm_silu`].
    #[fusion(meta = |x, _weight, _bias, _rule, dtype| TensorSpec::new(x.shape.clone(), *dtype))]
    fn card_norm_silu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        rule: norm::Rule,
        dtype: DType,
    ) -> FloatTensor<Self>;
}

impl DecoderOps for CubeBackend {
    fn card_convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        rule: Rule,
    ) -> FloatTensor<Self> {
        conv::convolve(x, weight, bias, residual, rule)
    }

    fn card_norm_silu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        rule: norm::Rule,
        dtype: DType,
    ) -> FloatTensor<Self> {
        norm::norm_silu(x, weight, bias, rule, dtype)
    }
}

/// Images, rows and columns.
type Grid = [usize; 3];

/// What a convolution reads: cells `[n, c]` in f16, divided by a factor.
struct Cells {
    x: Tensor<2>,
    divided: f64,
}

impl Cells {
    /// Of a feature map that no norm has made small.
    fn of(x: Tensor<2>) -> Self {
        Self {
            x: (x / SMALLER).cast(DType::F16),
            divided: SMALLER,
        }
    }
}

/// The result of [`Decoder::forward`], or none if these kernels do not take the decoder: it attends, or its channels are too few.
pub(crate) fn decode<R: Resample>(decoder: &Decoder<R>, latent: &Tensor<4>) -> Option<Tensor<4>> {
    let on_card = !is_cpu(&latent.device()) && !latent.is_autodiff();
    if !on_card || !takes(decoder) {
        return None;
    }
    let [b, c, h, w] = latent.dims();
    let mut grid = [b, h, w];
    let cells = latent.clone().permute([0, 2, 3, 1]).reshape([b * h * w, c]);
    let mut x = convolve(Cells::of(cells), &decoder.conv_in, grid, false, None);
    x = block(x, &decoder.mid.block_1, grid);
    x = block(x, &decoder.mid.block_2, grid);
    for level in decoder.up.iter().rev() {
        for one in &level.block {
            x = block(x, one, grid);
        }
        if let Some(upsample) = &level.upsample {
            grid = [grid[0], 2 * grid[1], 2 * grid[2]];
            x = convolve(Cells::of(x), upsample.conv(), grid, true, None);
        }
    }
    let normed = norm_silu(x, &decoder.norm_out, grid);
    let pixels = convolve(normed, &decoder.conv_out, grid, false, None);
    let made = decoder.conv_out.bias.dims()[0];
    let [b, h, w] = grid;
    let pixels = pixels.slice_dim(1, 0..made).reshape([b, h, w, made]);
    Some(pixels.permute([0, 3, 1, 2]))
}

fn takes<R: Resample>(decoder: &Decoder<R>) -> bool {
    let levels = decoder.up.iter();
    let attends = decoder.mid.attn_1.is_some() || decoder.up.iter().any(|up| !up.attn.is_empty());
    let middle = [&decoder.mid.block_1, &decoder.mid.block_2];
    let fits = |norm: &GroupNorm| norm::takes(norm.weight.dims()[0], norm.groups);
    let mut blocks = levels.flat_map(|level| &level.block).chain(middle);
    !attends && fits(&decoder.norm_out) && blocks.all(|b| fits(&b.norm1) && fits(&b.norm2))
}

fn block(x: Tensor<2>, block: &ResBlock, grid: Grid) -> Tensor<2> {
    let normed = norm_silu(x.clone(), &block.norm1, grid);
    let y = convolve(normed, &block.conv1, grid, false, None);
    let normed = norm_silu(y, &block.norm2, grid);
    let x = match &block.nin_shortcut {
        Some(shortcut) => convolve(Cells::of(x), shortcut, grid, false, None),
        None => x,
    };
    convolve(normed, &block.conv2, grid, false, Some(x))
}

fn norm_silu(x: Tensor<2>, norm: &GroupNorm, [images, ..]: Grid) -> Cells {
    let [x, weight, bias] = [
        x.into_dispatch(),
        norm.weight.val().into_dispatch(),
        norm.bias.val().into_dispatch(),
    ];
    let rule = norm::Rule {
        images,
        groups: norm.groups,
    };
    let normed = Dispatch::card_norm_silu(x, weight, bias, rule, DType::F16);
    Cells {
        x: Tensor::from_dispatch(normed),
        divided: 1.0,
    }
}

/// A convolution onto a grid, plus a residual.
fn convolve(
    cells: Cells,
    conv: &Conv,
    grid: Grid,
    up: bool,
    residual: Option<Tensor<2>>,
) -> Tensor<2> {
    let [made, channels, side, _] = conv.weight.dims();
    // Zeros where the channels are too few.
    let more = channels.next_multiple_of(CHANNELS) - channels;
    let wide = if made.is_multiple_of(CHANNELS) {
        0
    } else {
        WIDE - made % WIDE
    };
    let x = widen(cells.x, 1, more);
    let weight = conv.weight.val().permute([2, 3, 1, 0]); // [side, side, c, c']
    let weight = widen(widen(weight, 2, more), 3, wide);
    let rows = side * side * (channels + more);
    let weight = weight.reshape([rows, made + wide]).cast(DType::F16);
    let bias = widen(conv.bias.val(), 0, wide);
    let rule = Rule {
        grid,
        side,
        up,
        factor: cells.divided as f32,
        residual: residual.is_some(),
    };
    let bias = bias.into_dispatch();
    let residual = residual.map_or_else(|| bias.clone(), Tensor::into_dispatch);
    let [x, weight] = [x, weight].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::card_convolve(x, weight, bias, residual, rule))
}

/// Zeros after the end of an axis.
fn widen<const D: usize>(x: Tensor<D>, axis: usize, more: usize) -> Tensor<D> {
    if more == 0 {
        return x;
    }
    let mut shape = x.dims();
    shape[axis] = more;
    let zeros = Tensor::zeros(shape, (&x.device(), x.dtype()));
    Tensor::cat(vec![x, zeros], axis)
}
