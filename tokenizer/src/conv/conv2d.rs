//! Convolution, with stride 1, downsampling or upsampling.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};

use super::fast;

/// A 2-D convolution, `[b, c, h, w]` to `[b, c', h', w']`.
#[derive(Module, Debug)]
pub struct Conv {
    /// `[c', c, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// `[c']`.
    pub bias: Param<Tensor<1>>,
}

impl Conv {
    /// A convolution from `from` to `to` channels with a kernel of `kernel` x `kernel`, PyTorch's default initial values.
    pub fn init(from: usize, to: usize, kernel: usize, device: &Device) -> Self {
        let fan_in = from * kernel * kernel;
        let initializer = Initializer::KaimingUniform {
            gain: 1.0 / 3f64.sqrt(),
            fan_out_only: false,
        };
        let weight = [to, from, kernel, kernel];
        Self {
            weight: initializer.init_with(weight, Some(fan_in), None, device),
            bias: initializer.init_with([to], Some(fan_in), None, device),
        }
    }

    /// Stride 1, padded so that the numbers of rows and columns stay the same.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, kernel, _] = self.weight.dims();
        let side = kernel / 2;
        self.apply(x, 1, [(side, side), (side, side)])
    }

    /// Stride 2 after one row of zeros at the bottom and one column at the right: halves rows and columns.
    pub fn forward_down(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, 2, [(0, 1), (0, 1)])
    }

    /// Stride 1 after nearest-neighbour upsampling to twice the rows and columns.
    pub fn forward_up(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(nearest_up(x))
    }

    fn apply(&self, x: Tensor<4>, stride: usize, padding: [(usize, usize); 2]) -> Tensor<4> {
        fast::conv(x, self.weight.val(), self.bias.val(), stride, padding)
    }
}

/// A convolution with stride 1 and zero padding that keeps the numbers of rows and columns. On the CPU it is this crate's
/// own implementation.
///
/// # Shapes
/// `x` is `[b, c, h, w]`, `weight` `[c', c, k, k]`, `bias` `[c']`, and the result `[b, c', h, w]`.
pub fn convolve(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let [_, _, kernel, _] = weight.dims();
    let side = kernel / 2;
    fast::conv(x, weight, bias, 1, [(side, side), (side, side)])
}

/// A convolution with stride 1 or 2 after `padding` rows and columns of zeros on each side. On the CPU it is this crate's own
/// implementation.
///
/// # Shapes
/// `x` is `[b, c, h, w]`, `weight` `[c', c, k, k]`, `bias` `[c']`, and the result `[b, c', h', w']` with
/// `h' = (h + 2 padding - k) / stride + 1`, rounded down.
pub fn convolve_padded(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    fast::conv(x, weight, bias, stride, [(padding, padding); 2])
}

/// Whether [`convolve`] runs this crate's own implementation for `x` and a kernel of `kernel` x `kernel`.
pub fn is_fast(x: &Tensor<5>, kernel: usize) -> bool {
    fast::is_ours(x, kernel)
}

/// Repeats each cell 2 x 2: `[b, c, h, w]` to `[b, c, 2h, 2w]`.
pub fn nearest_up(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c, h, 1, w, 1])
        .expand([b, c, h, 2, w, 2])
        .reshape([b, c, 2 * h, 2 * w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::res_block::ResBlock;

    #[test]
    fn shapes() {
        let device = Device::flex();
        let x = Tensor::<4>::ones([1, 4, 6, 8], &device);
        let conv = Conv::init(4, 2, 3, &device);
        assert_eq!(conv.forward(x.clone()).dims(), [1, 2, 6, 8]);
        assert_eq!(conv.forward_down(x.clone()).dims(), [1, 2, 3, 4]);
        assert_eq!(conv.forward_up(x.clone()).dims(), [1, 2, 12, 16]);
        let block = ResBlock::init(4, 8, |_| 2, &device);
        assert_eq!(block.forward(x).dims(), [1, 8, 6, 8]);
    }

    #[test]
    fn up_repeats_cells() {
        let x = Tensor::<1>::from_floats([1.0, 2.0], &Device::flex()).reshape([1, 1, 1, 2]);
        let y: Vec<f32> = nearest_up(x).into_data().iter().collect();
        assert_eq!(y, vec![1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    }
}
