//! Group norm.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor, TensorData, activation::silu},
};

use super::fast_norm;

/// Normalises groups of channels over an image (Wu and He, arXiv:1803.08494), eps 1e-6, with weight and bias.
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

    /// `[b, c, h, w]` to the same shape.
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

    /// As [`GroupNorm::forward_silu`] for a part `[1, c, h, w]` of a feature map with known `moments`.
    pub fn forward_silu_known(&self, x: Tensor<4>, moments: &Moments) -> Tensor<4> {
        let (scale, shift) = moments.affine(self);
        silu(x * scale + shift)
    }

    /// [`GroupNorm::forward`] and SiLU after it.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        match fast_norm::norm_silu(&x, &self.weight.val(), &self.bias.val(), self.groups) {
            Some(y) => y,
            None => silu(self.forward(x)),
        }
    }
}

/// Means and deviations of the groups of one image's feature map, accumulated from parts of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    count: f64,
    /// Mean, and sum of the squared distances from it, per group.
    groups: Vec<(f64, f64)>,
}

impl Moments {
    /// Moments of no part.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a part `[1, c, h, w]` of the feature map, which has `groups` groups of channels.
    ///
    /// # Panics
    /// If the part is of more than one image, or earlier parts had another number of groups.
    pub fn add(&mut self, part: &Tensor<4>, groups: usize) {
        let [b, c, h, w] = part.dims();
        assert_eq!(b, 1, "moments are those of one image");
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

    /// Scale and shift of every channel, `[1, c, 1, 1]`, for the weights and biases of `norm`.
    fn affine(&self, norm: &GroupNorm) -> (Tensor<4>, Tensor<4>) {
        let [c] = norm.weight.dims();
        let width = c / self.groups.len();
        let per_channel = |pick: &dyn Fn(&(f64, f64)) -> f64| {
            let values = self
                .groups
                .iter()
                .flat_map(|group| vec![pick(group) as f32; width]);
            let data = TensorData::new(values.collect::<Vec<_>>(), [c]);
            Tensor::<1>::from_data(data, &norm.weight.device())
        };
        let inverse = per_channel(&|(_, squares)| (squares / self.count + 1e-6).sqrt().recip());
        let scale = inverse * norm.weight.val();
        let shift = norm.bias.val() - per_channel(&|(mean, _)| *mean) * scale.clone();
        (scale.reshape([1, c, 1, 1]), shift.reshape([1, c, 1, 1]))
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
}
