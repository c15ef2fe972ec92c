//! Which kind of device a tensor is on, and operations of this project's own on the CPU backend, with gradients of their own.

use burn::{
    backend::{
        Autodiff, Flex, TensorMetadata,
        autodiff::{
            checkpoint::strategy::NoCheckpointing,
            ops::{Backward, OpsKind},
        },
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::{Device, Tensor, TensorData},
};

/// Whether a device is the CPU, without gradients: everything else is a card or records gradients.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// Whether a device is a CUDA card, without gradients: what the kernels of this project for cards are written for. A GPU that is
/// reached through Vulkan, Metal or Direct3D is none.
#[cfg(feature = "cuda")]
pub fn is_cuda(device: &Device) -> bool {
    use burn::backend::{CubeDevice, DispatchDevice};
    matches!(
        device.as_dispatch(),
        DispatchDevice::Cube(CubeDevice::Cuda(_))
    )
}

/// Whether a device is a CUDA card: none is, without the feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub fn is_cuda(_: &Device) -> bool {
    false
}

/// Whether a device is a GPU that is reached through Vulkan, Metal or Direct3D, with gradients or without.
#[cfg(feature = "wgpu")]
pub fn is_wgpu(device: &Device) -> bool {
    use burn::backend::{CubeDevice, DispatchDevice};
    matches!(
        device.clone().without_autodiff().as_dispatch(),
        DispatchDevice::Cube(CubeDevice::Wgpu(_))
    )
}

/// Whether a device is such a GPU: none is, without the feature `wgpu`.
#[cfg(not(feature = "wgpu"))]
pub fn is_wgpu(_: &Device) -> bool {
    false
}

/// A tensor on the CPU whose gradient may be tracked.
pub type Tracked = FloatTensor<Autodiff<Flex>>;

/// `x` without gradients; none if it is not on the CPU, or may have a gradient.
pub fn plain<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    x.clone().try_into_primitive::<Flex>().ok()
}

/// `x` with its gradient; none if it is not on the CPU, or cannot have a gradient.
pub fn tracked<const D: usize>(x: &Tensor<D>) -> Option<Tracked> {
    x.clone().try_into_primitive::<Autodiff<Flex>>().ok()
}

/// The result `y` of an operation on `inputs`, which keeps `state` for its backward pass if an input has a gradient.
pub fn differentiable<const D: usize, const N: usize, O: Backward<Flex, N>>(
    operation: O,
    inputs: [&Tracked; N],
    state: O::State,
    y: FlexTensor,
) -> Tensor<D> {
    let nodes = inputs.map(|input| input.node());
    let prepared = operation.prepare::<NoCheckpointing>(nodes).compute_bound();
    let y = match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, y),
        OpsKind::UnTracked(prepared) => prepared.finish(y),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(y)
}

/// The numbers of a contiguous tensor.
pub fn numbers(x: &FlexTensor) -> &[f32] {
    &x.storage::<f32>()[..x.shape().num_elements()]
}

/// A tensor of these numbers.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
