//! The CPU's convolution as one differentiable operation. Other devices use the backend's, unless kernels are fixed.

use std::cell::Cell;

use burn::{
    backend::{
        Flex,
        autodiff::{
            checkpoint::base::Checkpointer,
            grads::Gradients,
            ops::{Backward, Ops},
        },
        flex::FlexTensor,
        ops::ModuleOps,
    },
    tensor::{DType, Tensor, module::conv2d, ops::ConvOptions},
};

#[cfg(target_arch = "x86_64")]
use super::half;
use super::{columns::Geometry, kernel, taps, winograd};
use crate::cpu::{self, numbers, tensor};
use crate::determinism;

/// A 2-D convolution of `x`, `[b, c, h, w]`, with `weight`, `[c', c, k, k]`, and `bias`, `[c']`, on any device.
///
/// `padding` is rows above and below, columns left and right; above and left must be equal.
pub(super) fn conv(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: [(usize, usize); 2],
) -> Tensor<4> {
    let geometry = geometry(x.dims(), weight.dims(), stride, padding);
    let f32s = [x.dtype(), weight.dtype(), bias.dtype()] == [DType::F32; 3];
    let [_, _, kernel, _] = weight.dims();
    if f32s && kernel > 1 {
        if let Some(y) = plain(&x, &weight, &bias, geometry) {
            return y;
        }
        if let Some(y) = tracked(&x, &weight, &bias, geometry) {
            return y;
        }
    }
    if determinism::is_on() && !is_on_cpu(&x) {
        return taps::convolve(x, weight, bias, stride, padding);
    }
    let options = ConvOptions::new_with_padding([stride; 2], padding, [1; 2], 1);
    conv2d(x, weight, Some(bias), options)
}

/// Whether `x` is computed here with a kernel of `kernel` x `kernel`: on the CPU, in f32, unless the kernel is a single cell; on
/// a card if kernels are fixed.
pub(super) fn is_ours(x: &Tensor<5>, kernel: usize) -> bool {
    if is_on_cpu(x) {
        kernel > 1 && x.dtype() == DType::F32
    } else {
        determinism::is_on()
    }
}

fn is_on_cpu<const D: usize>(x: &Tensor<D>) -> bool {
    cpu::plain(x).is_some() || cpu::tracked(x).is_some()
}

fn geometry(
    [b, c, h, w]: [usize; 4],
    [out, _, kernel, _]: [usize; 4],
    stride: usize,
    padding: [(usize, usize); 2],
) -> Geometry {
    let [(above, below), (left, right)] = padding;
    assert_eq!(above, left, "padding above against padding on the left");
    Geometry {
        b,
        input: [c, h, w],
        output: [
            out,
            (h + above + below - kernel) / stride + 1,
            (w + left + right - kernel) / stride + 1,
        ],
        kernel,
        stride,
        before: above,
    }
}

thread_local! {
    /// Whether convolutions of this thread are computed in bf16 where the CPU is faster with it.
    static HALF: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, whose convolutions on the CPU are computed in bf16 if `on`, and if the CPU is faster with it: factors are rounded, sums are
/// f32. Gradients of such convolutions are computed so, too, whenever that is.
pub fn in_bf16<T>(on: bool, work: impl FnOnce() -> T) -> T {
    /// Puts back what was.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            HALF.set(self.0);
        }
    }
    let _before = Before(HALF.replace(on));
    work()
}

/// Whether a convolution is computed in bf16 now.
fn is_half() -> bool {
    #[cfg(target_arch = "x86_64")]
    return HALF.get() && half::is_available();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

fn plain(x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>, g: Geometry) -> Option<Tensor<4>> {
    let (x, weight, bias) = (cpu::plain(x)?, cpu::plain(weight)?, cpu::plain(bias)?);
    let algorithm = if is_half() || !winograd::pays(&g) {
        direct(is_half())
    } else {
        winograd::forward
    };
    let y = run(algorithm, &g, &x, &weight, &bias);
    Some(Tensor::from_primitive::<Flex>(y))
}

fn tracked(x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>, g: Geometry) -> Option<Tensor<4>> {
    let inputs = [
        &cpu::tracked(x)?,
        &cpu::tracked(weight)?,
        &cpu::tracked(bias)?,
    ];
    let [x, weight, bias] = inputs.map(|input| input.primitive());
    let half = is_half();
    let y = run(direct(half), &g, x, weight, bias);
    let state = State {
        x: x.clone(),
        weight: weight.clone(),
        g,
        half,
    };
    Some(cpu::differentiable(Conv, inputs, state, y))
}

/// Geometry, images, weights and bias to the result.
type Algorithm = fn(&Geometry, &[f32], &[f32], &[f32]) -> Vec<f32>;

/// The direct sum, which training uses.
fn direct(half: bool) -> Algorithm {
    if !half {
        return |g, x, weight, bias| kernel::forward(g, x, weight, Some(bias));
    }
    #[cfg(target_arch = "x86_64")]
    return |g, x, weight, bias| half::forward(g, x, weight, Some(bias));
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("a CPU without bf16")
}

/// Geometry and two of images, weights and gradients to a gradient.
type Gradient = fn(&Geometry, &[f32], &[f32]) -> Vec<f32>;

/// The gradients of the weights and, for stride 1, of the images.
fn gradients(half: bool) -> [Gradient; 2] {
    if !half {
        return [kernel::weight_gradient, kernel::input_gradient];
    }
    #[cfg(target_arch = "x86_64")]
    return [half::weight_gradient, half::input_gradient];
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("a CPU without bf16")
}

fn run(
    algorithm: Algorithm,
    g: &Geometry,
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
) -> FlexTensor {
    let [x, weight, bias] = [x, weight, bias].map(FlexTensor::to_contiguous);
    let y = algorithm(g, numbers(&x), numbers(&weight), numbers(&bias));
    let [c, h, w] = g.output;
    tensor(y, [g.b, c, h, w])
}

#[derive(Debug)]
struct Conv;

#[derive(Debug, Clone)]
struct State {
    x: FlexTensor,
    weight: FlexTensor,
    g: Geometry,
    /// Whether products are in bf16.
    half: bool,
}

impl Backward<Flex, 3> for Conv {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [node_x, node_weight, node_bias] = ops.parents;
        let State { x, weight, g, half } = ops.state;
        let [weight_gradient, input_gradient] = gradients(half);
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [from, h, w] = g.input;
        let to = g.output[0];
        if let Some(node) = node_bias {
            let gradient = kernel::bias_gradient(&g, numbers(&grad));
            grads.register::<Flex>(node.id, tensor(gradient, [to]));
        }
        if let Some(node) = node_weight {
            let x = x.to_contiguous();
            let gradient = weight_gradient(&g, numbers(&x), numbers(&grad));
            grads.register::<Flex>(node.id, tensor(gradient, [to, from, g.kernel, g.kernel]));
        }
        if let Some(node) = node_x {
            let gradient = if g.stride == 1 {
                let weight = weight.to_contiguous();
                let gradient = input_gradient(&g, numbers(&weight), numbers(&grad));
                tensor(gradient, [g.b, from, h, w])
            } else {
                Flex::conv2d_x_backward(x, weight, grad, g.options())
            };
            grads.register::<Flex>(node.id, gradient);
        }
    }
}

impl Geometry {
    /// The backend's options for the same convolution.
    fn options(&self) -> ConvOptions<2> {
        let after = |i: usize| {
            let reach = (self.output[i] - 1) * self.stride + self.kernel;
            reach.saturating_sub(self.input[i] + self.before)
        };
        let padding = [(self.before, after(1)), (self.before, after(2))];
        ConvOptions::new_with_padding([self.stride; 2], padding, [1; 2], 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    fn far<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    /// Values and all three gradients compared with the backend's convolution.
    fn compare(b: usize, from: usize, to: usize, [h, w]: [usize; 2], stride: usize) {
        let device = Device::flex().autodiff();
        let random = |shape: [usize; 4]| {
            Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device).require_grad()
        };
        let (x, weight) = (random([b, from, h, w]), random([to, from, 3, 3]));
        let bias = Tensor::<1>::random([to], Distribution::Default, &device).require_grad();
        let side = if stride == 1 { (1, 1) } else { (0, 1) };
        let padding = [side, side];
        let ours = conv(x.clone(), weight.clone(), bias.clone(), stride, padding);
        let options = ConvOptions::new_with_padding([stride; 2], padding, [1; 2], 1);
        let theirs = conv2d(x.clone(), weight.clone(), Some(bias.clone()), options);
        assert_eq!(ours.dims(), theirs.dims());
        assert!(far(ours.clone(), theirs.clone()) < 1e-4);
        let mark = random(ours.dims()).detach();
        let ours = (ours * mark.clone()).sum().backward();
        let theirs = (theirs * mark).sum().backward();
        assert!(far(x.grad(&ours).unwrap(), x.grad(&theirs).unwrap()) < 1e-4);
        assert!(far(weight.grad(&ours).unwrap(), weight.grad(&theirs).unwrap()) < 1e-3);
        assert!(far(bias.grad(&ours).unwrap(), bias.grad(&theirs).unwrap()) < 1e-3);
    }

    #[test]
    fn same_as_the_backends() {
        compare(1, 3, 5, [7, 6], 1);
        compare(5, 4, 8, [4, 4], 1);
        compare(2, 16, 24, [33, 40], 1);
        compare(3, 6, 4, [8, 10], 2);
        compare(2, 3, 2, [1, 1], 1);
    }

    /// The convolutions of a patch discriminator, also where the last row and column of zeros are not reached.
    #[test]
    fn an_even_kernel_is_the_backends_too() {
        let device = Device::flex().autodiff();
        let random = |shape: [usize; 4]| {
            Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device).require_grad()
        };
        for (side, stride) in [(8, 2), (9, 2), (8, 1)] {
            let (x, weight) = (random([2, 3, side, side]), random([4, 3, 4, 4]));
            let bias = Tensor::<1>::zeros([4], &device);
            let padding = [(1, 1); 2];
            let ours = conv(x.clone(), weight.clone(), bias.clone(), stride, padding);
            let options = ConvOptions::new([stride; 2], [1; 2], [1; 2], 1);
            let theirs = conv2d(x.clone(), weight.clone(), Some(bias), options);
            assert!(far(ours.clone(), theirs.clone()) < 1e-4);
            let (ours, theirs) = (ours.square().sum(), theirs.square().sum());
            let (ours, theirs) = (ours.backward(), theirs.backward());
            for parameter in [&x, &weight] {
                let (a, b) = (parameter.grad(&ours), parameter.grad(&theirs));
                assert!(far(a.unwrap(), b.unwrap()) < 1e-3, "{side}, {stride}");
            }
        }
    }

    /// Against f32: exact for whole numbers, which bf16 represents, near for others.
    #[test]
    fn products_in_bf16_are_near() {
        let device = Device::flex().autodiff();
        for (shape, to, stride) in [
            ([2, 3, 9, 7], 5, 1),
            ([1, 16, 33, 40], 24, 1),
            ([3, 7, 8, 8], 33, 2),
            ([2, 64, 16, 16], 64, 1),
        ] {
            for most in [0.0, 0.02] {
                let numbers = |shape: [usize; 4]| {
                    let spread = Distribution::Uniform(-3.0, 3.0);
                    let x = Tensor::<4>::random(shape, spread, &device);
                    let x = if most == 0.0 { x.round() } else { x };
                    x.detach().require_grad()
                };
                let (x, weight) = (numbers(shape), numbers([to, shape[1], 3, 3]));
                let bias = Tensor::<1>::ones([to], &device).require_grad();
                let side = if stride == 1 { (1, 1) } else { (0, 1) };
                let run = |half| {
                    let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
                    in_bf16(half, || conv(x, weight, bias, stride, [side, side]))
                };
                let (ours, theirs) = (run(true), run(false));
                let near = |a: Tensor<4>, b: Tensor<4>| {
                    let scale: f32 = b.clone().abs().max().into_scalar();
                    assert!(far(a, b) <= most * scale, "{shape:?} {to} {stride} {most}");
                };
                near(ours.clone(), theirs.clone());
                let mark = numbers(ours.dims()).detach();
                let ours = (ours * mark.clone()).sum().backward();
                let theirs = (theirs * mark).sum().backward();
                for factor in [&x, &weight] {
                    near(factor.grad(&ours).unwrap(), factor.grad(&theirs).unwrap());
                }
            }
        }
    }

    #[test]
    fn gradients_stop_at_constants() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::ones([1, 2, 4, 4], &device);
        let weight = Tensor::<4>::ones([2, 2, 3, 3], &device).require_grad();
        let bias = Tensor::<1>::zeros([2], &device);
        let y = conv(x.clone(), weight.clone(), bias, 1, [(1, 1), (1, 1)]);
        let grads = y.sum().backward();
        assert!(weight.grad(&grads).is_some());
        assert!(x.grad(&grads).is_none());
    }
}
