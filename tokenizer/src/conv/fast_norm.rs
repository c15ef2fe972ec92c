//! The CPU's group norm with SiLU as one differentiable operation. Other devices use the backend's operations.

use burn::{
    backend::{
        Flex, TensorMetadata,
        autodiff::{
            checkpoint::base::Checkpointer,
            grads::Gradients,
            ops::{Backward, Ops},
        },
        flex::FlexTensor,
    },
    tensor::{DType, Tensor, TensorData},
};

use super::norm::{Groups, Moments};
use crate::cpu::{self, numbers, tensor};

/// `silu(group_norm(x))` of `x`, `[b, c, h, w]`, in one operation on the CPU; none where the backend has to compute it.
pub(super) fn norm_silu(
    x: &Tensor<4>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    groups: usize,
) -> Option<Tensor<4>> {
    if [x.dtype(), weight.dtype(), bias.dtype()] != [DType::F32; 3] {
        return None;
    }
    let [_, c, h, w] = x.dims();
    let shape = Groups {
        groups,
        channels: c / groups,
        cells: h * w,
    };
    let plain = || -> Option<Tensor<4>> {
        let (x, weight, bias) = (cpu::plain(x)?, cpu::plain(weight)?, cpu::plain(bias)?);
        let (y, _) = run_norm(&shape, &x, &weight, &bias);
        Some(Tensor::from_primitive::<Flex>(y))
    };
    plain().or_else(|| tracked_norm(x, weight, bias, shape))
}

fn tracked_norm(
    x: &Tensor<4>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    shape: Groups,
) -> Option<Tensor<4>> {
    let inputs = [
        &cpu::tracked(x)?,
        &cpu::tracked(weight)?,
        &cpu::tracked(bias)?,
    ];
    let [x, weight, bias] = inputs.map(|input| input.primitive().to_contiguous());
    let (y, moments) = run_norm(&shape, &x, &weight, &bias);
    let state = NormState {
        x,
        weight,
        bias,
        moments,
        shape,
    };
    Some(cpu::differentiable(NormSilu, inputs, state, y))
}

fn run_norm(
    shape: &Groups,
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
) -> (FlexTensor, Vec<Moments>) {
    let [x, weight, bias] = [x, weight, bias].map(FlexTensor::to_contiguous);
    let (y, moments) = shape.forward(numbers(&x), numbers(&weight), numbers(&bias));
    (
        FlexTensor::from_data(TensorData::new(y, x.shape())),
        moments,
    )
}

#[derive(Debug)]
struct NormSilu;

#[derive(Debug, Clone)]
struct NormState {
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    moments: Vec<Moments>,
    shape: Groups,
}

impl Backward<Flex, 3> for NormSilu {
    type State = NormState;

    fn backward(self, ops: Ops<NormState, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [node_x, node_weight, node_bias] = ops.parents;
        let state = ops.state;
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, weight) = (numbers(&state.x), numbers(&state.weight));
        let all = state.shape.backward(
            x,
            weight,
            numbers(&state.bias),
            &state.moments,
            numbers(&grad),
        );
        let channels = weight.len();
        if let Some(node) = node_x {
            let gradient = FlexTensor::from_data(TensorData::new(all.x, state.x.shape()));
            grads.register::<Flex>(node.id, gradient);
        }
        if let Some(node) = node_weight {
            grads.register::<Flex>(node.id, tensor(all.weight, [channels]));
        }
        if let Some(node) = node_bias {
            grads.register::<Flex>(node.id, tensor(all.bias, [channels]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::GroupNorm;
    use burn::{
        module::Param,
        tensor::{Device, Distribution, activation::silu},
    };

    fn far<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn norm_and_silu_are_the_backends() {
        let device = Device::flex().autodiff();
        let random = |shape: [usize; 4]| {
            Tensor::<4>::random(shape, Distribution::Uniform(-2.0, 3.0), &device)
        };
        for (shape, groups) in [([3, 12, 5, 7], 4), ([1, 4, 40, 41], 2), ([2, 3, 1, 1], 1)] {
            let mut norm = GroupNorm::init(shape[1], groups, &device);
            let vector = |n: usize| random([1, 1, 1, n]).reshape([n]);
            norm.weight = Param::from_tensor(vector(shape[1]));
            norm.bias = Param::from_tensor(vector(shape[1]));
            let x = random(shape).require_grad();
            let theirs = silu(norm.forward(x.clone()));
            let (weight, bias) = (norm.weight.val(), norm.bias.val());
            let ours = norm_silu(&x, &weight, &bias, groups).expect("the CPU");
            assert!(far(ours.clone(), theirs.clone()) < 2e-5);
            let mark = random(shape);
            let ours = (ours * mark.clone()).sum().backward();
            let theirs = (theirs * mark).sum().backward();
            // Where the few numbers of a group are nearly equal, their gradients are large.
            let (a, b) = (x.grad(&ours).unwrap(), x.grad(&theirs).unwrap());
            let largest = b.clone().abs().max().into_scalar::<f32>();
            assert!(far(a, b) < 1e-4 * largest.max(1.0));
            let pair = |p: &Param<Tensor<1>>| (p.grad(&ours).unwrap(), p.grad(&theirs).unwrap());
            for parameter in [&norm.weight, &norm.bias] {
                let (ours, theirs) = pair(parameter);
                let most = 1e-5 * theirs.clone().abs().max().into_scalar::<f32>() + 1e-4;
                assert!(far(ours, theirs) < most);
            }
        }
    }
}
