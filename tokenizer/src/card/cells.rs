//! Layers on feature maps whose cells stand row by row, `[n, c]` in f32; what a convolution multiplies is in f16.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;

use crate::card::{channel_norm, conv, norm};
use crate::conv::GroupNorm;

/// Feature maps that no norm has made small are divided by it while they are in f16, whose largest number is 65,504.
const SMALLER: f64 = 64.0;

/// Channels that a convolution reads and writes are multiples of it.
const CHANNELS: usize = 8;

/// Channels that a convolution makes are a multiple of it, if they are not one of [`CHANNELS`].
const WIDE: usize = 32;

#[backend_extension(Cube, Fusion)]
trait CellOps: Backend {
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
        rule: conv::Rule,
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

    /// [`channel_norm::norm_silu`].
    #[fusion(meta = |x, _gamma, _scale, _shift, _rule, dtype| TensorSpec::new(x.shape.clone(), *dtype))]
    fn card_channel_norm_silu(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        rule: channel_norm::Rule,
        dtype: DType,
    ) -> FloatTensor<Self>;
}

impl CellOps for CubeBackend {
    fn card_convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        rule: conv::Rule,
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

    fn card_channel_norm_silu(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        rule: channel_norm::Rule,
        dtype: DType,
    ) -> FloatTensor<Self> {
        channel_norm::norm_silu(x, gamma, [scale, shift], rule, dtype)
    }
}

/// Clips, frames, rows and columns. An image is a clip of one frame.
pub type Grid = [usize; 4];

/// What a convolution reads: cells `[n, c]` in f16, divided by a factor.
pub struct Cells {
    x: Tensor<2>,
    divided: f64,
}

impl Cells {
    /// Of a feature map that no norm has made small.
    pub fn of(x: Tensor<2>) -> Self {
        Self {
            x: (x / SMALLER).cast(DType::F16),
            divided: SMALLER,
        }
    }

    /// The same with other cells, made of these.
    pub fn map(self, change: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Self {
        Self {
            x: change(self.x),
            ..self
        }
    }
}

/// A convolution with `weight`, `[c', c, taps, side, side]`, and a bias, `[c']`, onto a grid; each cell of the input stands for 2 x 2
/// cells if it goes `up`. The input has `taps - 1` frames before each clip of the result, which the residual, `[n, c']`, is added to.
pub fn convolve(
    cells: Cells,
    weight: Tensor<5>,
    bias: Tensor<1>,
    grid: Grid,
    up: bool,
    residual: Option<Tensor<2>>,
) -> Tensor<2> {
    let [made, channels, taps, side, _] = weight.dims();
    // Zeros where the channels are too few.
    let more = channels.next_multiple_of(CHANNELS) - channels;
    let wide = if made.is_multiple_of(CHANNELS) {
        0
    } else {
        WIDE - made % WIDE
    };
    let x = widen(cells.x, 1, more);
    let weight = weight.permute([2, 3, 4, 1, 0]); // [taps, side, side, c, c']
    let weight = widen(widen(weight, 3, more), 4, wide);
    let rows = taps * side * side * (channels + more);
    let weight = weight.reshape([rows, made + wide]).cast(DType::F16);
    let bias = widen(bias, 0, wide);
    let rule = conv::Rule {
        grid,
        side,
        taps,
        up,
        factor: cells.divided as f32,
        residual: residual.is_some(),
    };
    let bias = bias.into_dispatch();
    let residual = residual.map_or_else(|| bias.clone(), |x| widen(x, 1, wide).into_dispatch());
    let [x, weight] = [x, weight].map(Tensor::into_dispatch);
    let y = Tensor::from_dispatch(Dispatch::card_convolve(x, weight, bias, residual, rule));
    if wide == 0 {
        return y;
    }
    y.slice_dim(1, 0..made)
}

/// SiLU of the group norm of cells of as many images.
pub fn norm_silu(x: Tensor<2>, norm: &GroupNorm, images: usize) -> Cells {
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

/// What follows a norm over channels: scale and shift of each cell of a coarser grid, whose sides divide those of the finer one.
pub struct Condition {
    /// `[m, c]` in f32.
    pub scale: Tensor<2>,
    /// `[m, c]` in f32.
    pub shift: Tensor<2>,
    /// The coarser grid.
    pub grid: Grid,
    /// Whether its first frame stands for one frame; all others stand for equally many.
    pub first: bool,
}

/// SiLU of the cells of a grid divided by the root of the mean square of their channels, times `gamma`, `[c]`, and of what follows.
pub fn channel_norm_silu(
    x: Tensor<2>,
    gamma: Tensor<1>,
    grid: Grid,
    condition: Option<&Condition>,
) -> Cells {
    let [x, any] = [x.clone(), x].map(Tensor::into_dispatch);
    let gamma = gamma.into_dispatch();
    let (scale, shift, coarse) = match condition {
        None => (any.clone(), any, None),
        Some(Condition {
            scale,
            shift,
            grid,
            first,
        }) => {
            let [scale, shift] = [scale, shift].map(|x| x.clone().into_dispatch());
            (scale, shift, Some((*grid, *first)))
        }
    };
    let rule = channel_norm::Rule { grid, coarse };
    let normed = Dispatch::card_channel_norm_silu(x, gamma, scale, shift, rule, DType::F16);
    Cells {
        x: Tensor::from_dispatch(normed),
        divided: 1.0,
    }
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
