//! A convolution as one matrix product for each cell of its kernel: for devices whose library would choose among its convolutions
//! by measurement.

use burn::tensor::{Slice, Tensor};

/// A 2-D convolution of `x`, `[b, c, h, w]`, with `weight`, `[c', c, k, k]`, and `bias`, `[c']`, after zero padding: rows above and
/// below, columns left and right. The result is `[b, c', h', w']`.
pub(super) fn convolve(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    [(above, below), (left, right)]: [(usize, usize); 2],
) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let [out, _, rows, columns] = weight.dims();
    let height = (h + above + below - rows) / stride + 1;
    let width = (w + left + right - columns) / stride + 1;
    let x = x.pad([(above, below), (left, right)], 0.0);
    let mut sum = bias.reshape([1, out, 1]).expand([b, out, height * width]);
    for row in 0..rows {
        for column in 0..columns {
            let along = |from: usize, count: usize| {
                let end = from + (count - 1) * stride + 1;
                Slice::new(from as isize, Some(end as isize), stride as isize)
            };
            let cells = x.clone().slice_dim(2, along(row, height));
            let cells = cells.slice_dim(3, along(column, width));
            let cells = cells.reshape([b, c, height * width]);
            let tap = weight.clone().slice_dim(2, row..row + 1);
            let tap = tap.slice_dim(3, column..column + 1);
            let tap = tap.reshape([1, out, c]).expand([b, out, c]);
            sum = sum + tap.matmul(cells);
        }
    }
    sum.reshape([b, out, height, width])
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Distribution};

    use super::*;

    #[test]
    fn same_as_the_backends() {
        let device = Device::flex();
        let random = |shape: [usize; 4]| {
            Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device)
        };
        for (kernel, stride, padding) in [
            (1, 1, [(0, 0), (0, 0)]),
            (3, 1, [(1, 1), (1, 1)]),
            (3, 2, [(0, 1), (0, 1)]),
        ] {
            let (x, weight) = (random([2, 3, 6, 8]), random([5, 3, kernel, kernel]));
            let bias = Tensor::<1>::random([5], Distribution::Default, &device);
            let ours = convolve(x.clone(), weight.clone(), bias.clone(), stride, padding);
            let options = ConvOptions::new_with_padding([stride; 2], padding, [1; 2], 1);
            let theirs = conv2d(x, weight, Some(bias), options);
            assert_eq!(ours.dims(), theirs.dims());
            let off: f32 = (ours - theirs).abs().max().into_scalar();
            assert!(off < 1e-5, "kernel {kernel}, stride {stride}: {off}");
        }
    }
}
