//! Causal 3-D convolution: over rows, columns and the current and past frames.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor, module::conv3d, ops::ConvOptions},
};
use nextscale_tokenizer::conv::{convolve, is_fast};

/// The last input frames of each convolution of a network, in the order in which they run.
///
/// With it a clip passes through a causal network chunk by chunk. The caller owns it, one per clip.
#[derive(Debug, Clone, Default)]
pub struct FrameCache {
    slots: Vec<Tensor<5>>,
    next: usize,
    chunks: usize,
}

impl FrameCache {
    /// An empty cache, before the first frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no chunk has been processed yet.
    pub fn is_at_start(&self) -> bool {
        self.chunks == 0
    }

    /// Marks the end of a chunk: the next convolution is the network's first one again.
    pub(crate) fn finish_chunk(&mut self) {
        assert_eq!(self.next, self.slots.len(), "a convolution was skipped");
        self.next = 0;
        self.chunks += 1;
    }

    /// Prepends the last `past` frames of the previous chunks to `x`, whose frames are on an axis; at the start of a clip, copies
    /// of its first frame.
    pub(crate) fn extend(&mut self, x: Tensor<5>, axis: usize, past: usize) -> Tensor<5> {
        let slot = self.next;
        self.next += 1;
        let before = match self.slots.get(slot) {
            Some(before) => before.clone(),
            None => x.clone().slice_dim(axis, 0..1).repeat_dim(axis, past),
        };
        let x = Tensor::cat(vec![before, x], axis);
        let t = x.dims()[axis];
        // A copy, since a view would keep the whole chunk in memory.
        let last = x.clone().slice_dim(axis, t - past..t).mul_scalar(1.0);
        match self.slots.get_mut(slot) {
            Some(held) => *held = last,
            None => self.slots.push(last),
        }
        x
    }
}

/// A 3-D convolution over the current and past frames, with zero padding of rows and columns.
///
/// `CogVideoXCausalConv3d` of `infinity/models/videovae/modules/conv_wan.py`.
#[derive(Module, Debug)]
pub struct CausalConv {
    /// `[c', c, k, k, k]`.
    pub weight: Param<Tensor<5>>,
    /// `[c']`.
    pub bias: Param<Tensor<1>>,
}

impl CausalConv {
    /// From `from` to `to` channels with an odd `kernel`, initialised as in PyTorch.
    ///
    /// # Panics
    /// If the kernel is even.
    pub fn init(from: usize, to: usize, kernel: usize, device: &Device) -> Self {
        assert!(kernel % 2 == 1, "the kernel must be odd, not {kernel}");
        let fan_in = from * kernel.pow(3);
        let initializer = Initializer::KaimingUniform {
            gain: 1.0 / 3f64.sqrt(),
            fan_out_only: false,
        };
        let weight = [to, from, kernel, kernel, kernel];
        Self {
            weight: initializer.init_with(weight, Some(fan_in), None, device),
            bias: initializer.init_with([to], Some(fan_in), None, device),
        }
    }

    /// `[b, c, t, h, w]` to `[b, c', t, h, w]`; `cache` holds the frames before this chunk.
    pub fn forward(&self, x: Tensor<5>, cache: &mut FrameCache) -> Tensor<5> {
        let [_, _, kernel, _, _] = self.weight.dims();
        let x = match kernel {
            1 => x,
            _ => cache.extend(x, 2, kernel - 1),
        };
        self.apply(x)
    }

    /// [`CausalConv::forward`] for a kernel of 1, which needs no past frames.
    ///
    /// # Panics
    /// If the kernel is larger than 1.
    pub fn forward_pointwise(&self, x: Tensor<5>) -> Tensor<5> {
        let [_, _, kernel, _, _] = self.weight.dims();
        assert_eq!(kernel, 1, "a kernel of {kernel} needs past frames");
        self.apply(x)
    }

    fn apply(&self, x: Tensor<5>) -> Tensor<5> {
        let [_, _, _, kernel, _] = self.weight.dims();
        let (weight, bias) = (self.weight.val(), self.bias.val());
        if is_fast(&x, kernel) {
            return by_frames(x, weight, bias);
        }
        let side = kernel / 2;
        let options = ConvOptions::new([1; 3], [0, side, side], [1; 3], 1);
        conv3d(x, weight, Some(bias), options)
    }
}

/// The maximum number of values in the input of one 2-D convolution.
const MAX_INPUT_VALUES: usize = 1 << 26;

/// The same convolution in two dimensions: the frames under the kernel become channels.
fn by_frames(x: Tensor<5>, weight: Tensor<5>, bias: Tensor<1>) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    let [to, _, taps, kernel, _] = weight.dims();
    let frames = t + 1 - taps;
    let weight = weight.swap_dims(1, 2);
    let weight = weight.reshape([to, taps * c, kernel, kernel]);
    let x = x.swap_dims(1, 2); // [b, t, c, h, w]
    let at_once = (MAX_INPUT_VALUES / (b * taps * c * h * w)).clamp(1, frames);
    let parts = (0..frames).step_by(at_once).map(|from| {
        let n = at_once.min(frames - from);
        let window = (from..from + taps).map(|at| x.clone().slice_dim(1, at..at + n));
        let stacked = Tensor::cat(window.collect(), 2); // [b, n, taps c, h, w]
        let stacked = stacked.reshape([b * n, taps * c, h, w]);
        convolve(stacked, weight.clone(), bias.clone()).reshape([b, n, to, h, w])
    });
    let mut parts: Vec<Tensor<5>> = parts.collect();
    let y = match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, 1),
    };
    y.swap_dims(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn later_frames_change_nothing() {
        let device = Device::flex();
        let conv = CausalConv::init(2, 3, 3, &device);
        let x = Tensor::<5>::random([1, 2, 5, 4, 6], Distribution::Default, &device);
        let whole = conv.forward(x.clone(), &mut FrameCache::new());
        assert_eq!(whole.dims(), [1, 3, 5, 4, 6]);
        let mut cache = FrameCache::new();
        assert!(cache.is_at_start());
        let chunks = [0..1, 1..4, 4..5].map(|frames| {
            let y = conv.forward(x.clone().slice_dim(2, frames), &mut cache);
            cache.finish_chunk();
            y
        });
        let off: f32 = (Tensor::cat(chunks.into(), 2) - whole)
            .abs()
            .max()
            .into_scalar();
        assert!(off < 1e-6, "{off}");
        assert!(!cache.is_at_start());
    }

    #[test]
    fn frames_as_channels_change_nothing() {
        let device = Device::flex().autodiff();
        let random = |shape: [usize; 5]| {
            Tensor::<5>::random(shape, Distribution::Uniform(-1.0, 1.0), &device).require_grad()
        };
        let (x, weight) = (random([2, 4, 5, 6, 7]), random([3, 4, 3, 3, 3]));
        let bias = Tensor::<1>::random([3], Distribution::Default, &device).require_grad();
        let ours = by_frames(x.clone(), weight.clone(), bias.clone());
        let options = ConvOptions::new([1; 3], [0, 1, 1], [1; 3], 1);
        let theirs = conv3d(x.clone(), weight.clone(), Some(bias), options);
        let off = |a: Tensor<5>, b: Tensor<5>| (a - b).abs().max().into_scalar::<f32>();
        assert!(off(ours.clone(), theirs.clone()) < 1e-5);
        let (ours, theirs) = (ours.square().sum(), theirs.square().sum());
        let (ours, theirs) = (ours.backward(), theirs.backward());
        for parameter in [&x, &weight] {
            let (a, b) = (parameter.grad(&ours), parameter.grad(&theirs));
            let (a, b) = (a.unwrap(), b.unwrap());
            assert!(off(a, b.clone()) < 1e-4 * b.abs().max().into_scalar::<f32>());
        }
    }

    #[test]
    fn the_first_frame_stands_in_for_the_past() {
        let device = Device::flex();
        let mut conv = CausalConv::init(1, 1, 3, &device);
        let x = Tensor::<5>::ones([1, 1, 1, 1, 1], &device) * 2.0;
        // Only the taps on the two frames before the current one.
        let taps = Tensor::<1>::from_floats([1.0, 10.0, 0.0], &device).reshape([1, 1, 3, 1, 1]);
        let weight = taps.expand([1, 1, 3, 3, 3]);
        conv.weight = Param::from_tensor(weight.mul_scalar(1.0));
        conv.bias = Param::from_tensor(Tensor::zeros([1], &device));
        let y: f32 = conv.forward(x, &mut FrameCache::new()).into_scalar();
        assert_eq!(y, 22.0);
    }
}
