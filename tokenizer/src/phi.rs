//! phi: convolutions on the upsampled vectors of each scale, shared between neighbouring scales.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use crate::conv::Conv;
use crate::pyramid::Refine;

/// A few residual convolutions. Scale k of K uses the one whose tick is nearest to `k / (K - 1)`
/// (`PhiPartiallyShared` of VAR's `quant.py`).
#[derive(Module, Debug)]
pub struct Phi {
    /// c to c, 3 x 3.
    pub convs: Vec<Conv>,
    /// Weight of the convolution in the result, 0 to 1.
    pub ratio: f64,
}

impl Phi {
    /// `count` convolutions of `channels` channels.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn init(count: usize, channels: usize, ratio: f64, device: &Device) -> Self {
        assert!(count > 0, "phi needs a convolution");
        let convs = (0..count).map(|_| Conv::init(channels, channels, 3, device));
        Self {
            convs: convs.collect(),
            ratio,
        }
    }

    /// The convolution of scale `k` out of `scales`.
    pub fn index(&self, k: usize, scales: usize) -> usize {
        let at = k as f64 / scales.saturating_sub(1).max(1) as f64;
        let distance = |tick: f64| (tick - at).abs();
        let ticks = ticks(self.convs.len());
        let mut best = 0;
        for (i, &tick) in ticks.iter().enumerate() {
            if distance(tick) < distance(ticks[best]) {
                best = i;
            }
        }
        best
    }
}

/// The positions of the convolutions between the first scale, 0, and the last one, 1. The order of operations is that of
/// numpy's `linspace`: it decides which of the middle two of four is nearer to exactly one half.
fn ticks(count: usize) -> Vec<f64> {
    let parts = count as f64;
    let margin = match count {
        4 => 1.0 / 3.0 / parts,
        _ => 1.0 / 2.0 / parts,
    };
    let (first, last) = (margin, 1.0 - margin);
    if count == 1 {
        return vec![first];
    }
    let step = (last - first) / (parts - 1.0);
    let tick = |i: usize| {
        if i + 1 == count {
            last
        } else {
            i as f64 * step + first
        }
    };
    (0..count).map(tick).collect()
}

impl Refine for Phi {
    fn refine(&self, x: Tensor<5>, k: usize, scales: usize) -> Tensor<5> {
        let [b, c, t, h, w] = x.dims();
        let conv = &self.convs[self.index(k, scales)];
        let frames = x.clone().permute([0, 2, 1, 3, 4]).reshape([b * t, c, h, w]);
        let refined = conv.forward(frames).reshape([b, t, c, h, w]);
        x * (1.0 - self.ratio) + refined.permute([0, 2, 1, 3, 4]) * self.ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share() {
        let phi = Phi::init(4, 2, 0.5, &Device::flex());
        let indices =
            |scales: usize| -> Vec<usize> { (0..scales).map(|k| phi.index(k, scales)).collect() };
        assert_eq!(indices(10), [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]);
        assert_eq!(indices(7), [0, 0, 1, 2, 2, 3, 3]);
        assert_eq!(indices(1), [0]);
    }

    #[test]
    fn a_ratio_of_zero_changes_nothing() {
        let device = Device::flex();
        let x = Tensor::<5>::ones([1, 2, 1, 3, 3], &device);
        let y = Phi::init(1, 2, 0.0, &device).refine(x.clone(), 0, 1);
        y.into_data().assert_eq(&x.into_data(), true);
    }
}
