//! Convolutions, poolings and branches of Inception-v3 with weights.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::{avg_pool2d, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};

use crate::inception::layout::Pool;

/// A convolution with its batch norm folded in, and a ReLU.
#[derive(Debug)]
pub(super) struct Layer {
    /// `[c', c, kh, kw]`.
    pub weight: Tensor<4>,
    /// `[c']`.
    pub bias: Tensor<1>,
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub padding: [usize; 2],
}

impl Layer {
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], self.padding, [1; 2], 1);
        let bias = Some(self.bias.clone());
        relu(conv2d(x, self.weight.clone(), bias, options))
    }
}

impl Pool {
    /// The pooling of `[b, c, h, w]`.
    pub(super) fn forward(self, x: Tensor<4>) -> Tensor<4> {
        let average = AvgPoolOptions::new([3; 2])
            .with_stride([1; 2])
            .with_padding([1; 2]);
        let largest = MaxPoolOptions::new([3; 2]);
        match self {
            Pool::Average => avg_pool2d(x, average.with_count_include_pad(false)),
            Pool::AverageOfPadded => avg_pool2d(x, average),
            Pool::Largest => max_pool2d(x, largest.with_stride([1; 2]).with_padding([1; 2])),
            Pool::Halving => max_pool2d(x, largest.with_stride([2; 2])),
        }
    }
}

/// One way through a block.
#[derive(Debug)]
pub(super) struct Path {
    pub pool: Option<Pool>,
    pub layers: Vec<Layer>,
    pub fork: Vec<Layer>,
}

impl Path {
    fn forward(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let x = match self.pool {
            Some(pool) => pool.forward(x),
            None => x,
        };
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(x));
        if self.fork.is_empty() {
            return vec![x];
        }
        let fork = self.fork.iter();
        fork.map(|layer| layer.forward(x.clone())).collect()
    }
}

/// The channels of all paths, `[b, c', h', w']`.
pub(super) fn joined(paths: &[Path], x: &Tensor<4>) -> Tensor<4> {
    let all = paths.iter().flat_map(|path| path.forward(x.clone()));
    Tensor::cat(all.collect(), 1)
}
