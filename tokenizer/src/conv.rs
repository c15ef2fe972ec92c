//! The convolutional parts that image tokenizers are made of: convolution, group norm, residual block, up, down.

/// Runs a loop body compiled for the widest vectors that this processor has.
macro_rules! widest {
    ($name:ident, $body:ident, ($($arg:ident: $type:ty),*) $(-> $ret:ty)?) => {
        fn $name($($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn v4($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn v3($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                // Each is called only where the processor has the features it was compiled for.
                if is_x86_feature_detected!("avx512f") {
                    return unsafe { v4($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    return unsafe { v3($($arg),*) };
                }
            }
            $body($($arg),*)
        }
    };
}

mod attention;
mod fast;
mod kernel;
mod norm;
mod winograd;

pub use attention::SpatialAttention;

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor, TensorData, activation::silu},
};

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

    /// Stride 1, padded so that rows and columns stay.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, kernel, _] = self.weight.dims();
        let side = kernel / 2;
        self.apply(x, 1, [(side, side), (side, side)])
    }

    /// Stride 2 after one row of zeros at the bottom and one column at the right: halves rows and columns.
    pub fn forward_down(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, 2, [(0, 1), (0, 1)])
    }

    /// Stride 1 on a picture of twice the rows and columns, each cell repeated 2 x 2.
    pub fn forward_up(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(nearest_up(x))
    }

    fn apply(&self, x: Tensor<4>, stride: usize, padding: [(usize, usize); 2]) -> Tensor<4> {
        fast::conv(x, self.weight.val(), self.bias.val(), stride, padding)
    }
}

/// A convolution of stride 1 whose rows and columns are padded with zeros so that they stay: `[b, c, h, w]` with
/// `weight`, `[c', c, k, k]`, and `bias`, `[c']`, to `[b, c', h, w]`. On the CPU it is this crate's own.
pub fn convolve(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let [_, _, kernel, _] = weight.dims();
    let side = kernel / 2;
    fast::conv(x, weight, bias, 1, [(side, side), (side, side)])
}

/// Whether [`convolve`] is this crate's own on the device of `x`.
pub fn is_fast(x: &Tensor<5>) -> bool {
    fast::is_ours(x)
}

/// Repeats each cell 2 x 2: `[b, c, h, w]` to `[b, c, 2h, 2w]`.
pub fn nearest_up(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c, h, 1, w, 1])
        .expand([b, c, h, 2, w, 2])
        .reshape([b, c, 2 * h, 2 * w])
}

/// Normalises groups of channels over a picture (Wu and He, arXiv:1803.08494), eps 1e-6, with weight and bias.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[c]`.
    pub weight: Param<Tensor<1>>,
    /// `[c]`.
    pub bias: Param<Tensor<1>>,
    /// Number of groups; divides c.
    pub groups: usize,
}

impl GroupNorm {
    /// Weight 1, bias 0.
    ///
    /// # Panics
    /// If `groups` does not divide `channels`.
    pub fn init(channels: usize, groups: usize, device: &Device) -> Self {
        assert!(
            groups > 0 && channels.is_multiple_of(groups),
            "{groups} groups do not divide {channels} channels"
        );
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            groups,
        }
    }

    /// `[b, c, h, w]`, the shape stays.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let g = self.groups;
        let x = x.reshape([b, g, c / g * h * w]);
        let x = x.clone() - x.mean_dim(2);
        let scale = x
            .clone()
            .square()
            .mean_dim(2)
            .add_scalar(1e-6)
            .sqrt()
            .recip(); // [b, g, 1]
        let weight = self.weight.val().reshape([1, g, c / g]);
        let scale = (scale * weight).reshape([b, c, 1]);
        let bias = self.bias.val().reshape([1, c, 1]);
        (x.reshape([b, c, h * w]) * scale + bias).reshape([b, c, h, w])
    }

    /// As [`GroupNorm::forward_silu`] for a part `[1, c, h, w]` of a map, whose moments are known.
    pub fn forward_silu_known(&self, x: Tensor<4>, moments: &Moments) -> Tensor<4> {
        let (scale, shift) = moments.affine(self);
        silu(x * scale + shift)
    }

    /// [`GroupNorm::forward`] and SiLU after it.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        match fast::norm_silu(&x, &self.weight.val(), &self.bias.val(), self.groups) {
            Some(y) => y,
            None => silu(self.forward(x)),
        }
    }
}

/// Means and deviations of the groups of one picture's map, put together from parts of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    count: f64,
    /// Mean and summed squares of the distances from it, one pair a group.
    groups: Vec<(f64, f64)>,
}

impl Moments {
    /// Of no part yet.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a part `[1, c, h, w]` of the map, which has so many groups of channels.
    ///
    /// # Panics
    /// If the part is of more than one picture, or earlier parts had another number of groups.
    pub fn add(&mut self, part: &Tensor<4>, groups: usize) {
        let [b, c, h, w] = part.dims();
        assert_eq!(b, 1, "moments are those of one picture");
        // In two steps, so that sums stay short.
        let rows = part.clone().reshape([groups, c / groups * h, w]);
        let mean = rows.clone().mean_dim(2).mean_dim(1);
        let square = (rows - mean.clone()).square().mean_dim(2).mean_dim(1);
        let count = (c / groups * h * w) as f64;
        let numbers = |x: Tensor<3>| x.into_data().iter::<f64>().collect::<Vec<_>>();
        let parts: Vec<(f64, f64)> = numbers(mean).into_iter().zip(numbers(square)).collect();
        self.groups.resize(groups, (0.0, 0.0));
        let (before, all) = (self.count, self.count + count);
        for ((mean, squares), (other, spread)) in self.groups.iter_mut().zip(parts) {
            let apart = other - *mean;
            *mean += apart * count / all;
            *squares += spread * count + apart * apart * before * count / all;
        }
        self.count = all;
    }

    /// Scale and shift of every channel, `[1, c, 1, 1]`, for a norm with these weights and biases.
    fn affine(&self, norm: &GroupNorm) -> (Tensor<4>, Tensor<4>) {
        let [c] = norm.weight.dims();
        let per = c / self.groups.len();
        let of = |pick: &dyn Fn(&(f64, f64)) -> f64| {
            let values = self
                .groups
                .iter()
                .flat_map(|group| vec![pick(group) as f32; per]);
            let data = TensorData::new(values.collect::<Vec<_>>(), [c]);
            Tensor::<1>::from_data(data, &norm.weight.device())
        };
        let inverse = of(&|(_, squares)| (squares / self.count + 1e-6).sqrt().recip());
        let scale = inverse * norm.weight.val();
        let shift = norm.bias.val() - of(&|(mean, _)| *mean) * scale.clone();
        (scale.reshape([1, c, 1, 1]), shift.reshape([1, c, 1, 1]))
    }
}

/// Two rounds of norm, SiLU and 3 x 3 convolution, added to the input (or to its 1 x 1 projection where channels change).
#[derive(Module, Debug)]
pub struct ResBlock {
    /// On the input.
    pub norm1: GroupNorm,
    /// c to c'.
    pub conv1: Conv,
    /// In between.
    pub norm2: GroupNorm,
    /// c' to c'.
    pub conv2: Conv,
    /// c to c', 1 x 1; only where they differ.
    pub nin_shortcut: Option<Conv>,
}

impl ResBlock {
    /// From `from` to `to` channels; `groups` gives the number of norm groups for a number of channels.
    pub fn init(from: usize, to: usize, groups: impl Fn(usize) -> usize, device: &Device) -> Self {
        Self {
            norm1: GroupNorm::init(from, groups(from), device),
            conv1: Conv::init(from, to, 3, device),
            norm2: GroupNorm::init(to, groups(to), device),
            conv2: Conv::init(to, to, 3, device),
            nin_shortcut: (from != to).then(|| Conv::init(from, to, 1, device)),
        }
    }

    /// `[b, c, h, w]` to `[b, c', h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        let y = self.conv2.forward(self.norm2.forward_silu(y));
        let x = match &self.nin_shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        x + y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn group_norm_centres_each_group() {
        let device = Device::flex();
        let x = Tensor::random([2, 4, 3, 3], Distribution::Uniform(1.0, 5.0), &device);
        let y = GroupNorm::init(4, 2, &device).forward(x).reshape([4, 18]);
        let mean: f32 = y.clone().mean_dim(1).abs().max().into_scalar();
        let var = y.square().mean_dim(1);
        let off: f32 = (var - 1.0).abs().max().into_scalar();
        assert!(
            mean < 1e-5 && off < 1e-4,
            "mean {mean}, variance off by {off}"
        );
    }

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
