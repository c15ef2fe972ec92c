//! The card of this process: its context, the stream on which NCCL works, and where its tensors lie.

use std::ffi::c_void;

use burn::backend::{Cube, CubeDevice, DispatchDevice};
use burn::tensor::{DType, Device, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::cuda::CudaRuntime;
use burn_cubecl::cubecl::future::block_on;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl_runtime::runtime::Runtime;
use cudarc::driver::sys::{CUcontext, CUdevice, CUresult, CUstream};
use cudarc::driver::{DriverError, result};

/// What tensors lie in.
type Server = <CudaRuntime as Runtime>::Server;

/// A card, with a stream of its own.
pub(super) struct Card {
    /// The card as the tensor library knows it.
    pub(super) device: Device,
    /// Its number in this process.
    pub(super) number: usize,
    handle: CUdevice,
    context: CUcontext,
    stream: CUstream,
}

// SAFETY: the driver takes calls from all threads; what a call needs of its thread is set by `enter`.
unsafe impl Send for Card {}
unsafe impl Sync for Card {}

impl Card {
    /// The card that a device of the tensor library is; none if it is no card.
    pub(super) fn of(device: &Device) -> Option<Result<Self, String>> {
        let device = device.clone().without_autodiff();
        let number = match device.as_dispatch() {
            DispatchDevice::Cube(CubeDevice::Cuda(card)) => card.index,
            _ => return None,
        };
        Some(Self::open(device, number).map_err(|error| told(&error)))
    }

    fn open(device: Device, number: usize) -> Result<Self, DriverError> {
        result::init()?;
        let handle = result::device::get(i32::try_from(number).unwrap_or(i32::MAX))?;
        // SAFETY: the context is that which the tensor library has retained too; it is released once, when the card is dropped.
        let context = unsafe { result::primary_ctx::retain(handle) }?;
        unsafe { result::ctx::set_current(context) }?;
        // What waits for the tensor library's streams says so itself.
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        Ok(Self {
            device,
            number,
            handle,
            context,
            stream,
        })
    }

    /// Another stream of the same card.
    pub(super) fn again(&self) -> Result<Self, String> {
        Self::open(self.device.clone(), self.number).map_err(|error| told(&error))
    }

    /// The number by which the card is known everywhere, in hexadecimal digits.
    pub(super) fn identity(&self) -> Result<String, String> {
        let id = result::device::get_uuid(self.handle).map_err(|error| told(&error))?;
        let digits = id.bytes.iter().map(|byte| format!("{:02x}", *byte as u8));
        Ok(digits.collect())
    }

    /// Makes the card that of the calling thread.
    pub(super) fn enter(&self) -> Result<(), String> {
        // SAFETY: the context is retained as long as this card is.
        unsafe { result::ctx::set_current(self.context) }.map_err(|error| told(&error))
    }

    pub(super) fn stream(&self) -> CUstream {
        self.stream
    }

    /// Whether all work of the stream is done.
    pub(super) fn is_done(&self) -> Result<bool, String> {
        // SAFETY: the stream is destroyed with this card.
        match unsafe { cudarc::driver::sys::cuStreamQuery(self.stream) } {
            CUresult::CUDA_SUCCESS => Ok(true),
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            code => Err(told(&DriverError(code))),
        }
    }

    /// Copies bytes to the card, after what was asked of the stream before.
    pub(super) fn upload(&self, bytes: &[u8], to: &Memory) -> Result<(), String> {
        assert!(bytes.len() <= to.bytes, "{} bytes", to.bytes);
        // SAFETY: the memory is large enough; the caller keeps the bytes until the stream is done.
        let copied = unsafe { result::memcpy_htod_async(to.address, bytes, self.stream) };
        copied.map_err(|error| told(&error))
    }

    /// Copies bytes from the card, after what was asked of the stream before: they are there when the stream is done.
    pub(super) fn download(&self, bytes: &mut [u8], from: &Memory) -> Result<(), String> {
        assert!(bytes.len() <= from.bytes, "{} bytes", from.bytes);
        // SAFETY: as above.
        let copied = unsafe { result::memcpy_dtoh_async(bytes, from.address, self.stream) };
        copied.map_err(|error| told(&error))
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // SAFETY: both are not used again.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.handle);
        }
    }
}

/// Memory of a card that belongs to no tensor.
pub(super) struct Memory {
    address: u64,
    bytes: usize,
}

impl Memory {
    /// So many bytes of the calling thread's card.
    pub(super) fn take(bytes: usize) -> Result<Self, String> {
        // SAFETY: a context is set.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|error| told(&error))?;
        Ok(Self { address, bytes })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn address(&self) -> *mut c_void {
        self.address as *mut c_void
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated and is not used again. If the context is gone, so is the memory.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// Numbers of a tensor where they lie on the card, kept there as long as this is.
pub(super) struct Numbers {
    tensor: CubeTensor,
    address: u64,
}

impl Numbers {
    /// Those of a tensor in f32 on a card. What computes them may not have begun.
    pub(super) fn of(x: Tensor<1>) -> Result<Self, String> {
        if x.dtype() != DType::F32 {
            return Err(format!("numbers of the type {:?} are not sent", x.dtype()));
        }
        let x = x
            .try_into_primitive::<Cube>()
            .map_err(|error| format!("{error:?}"))?;
        let client = x.client.clone();
        let tensor = into_contiguous(client.resolve_tensor_float::<CubeBackend>(x));
        let memory = tensor
            .client
            .get_resource::<Server>(tensor.handle.clone())
            .map_err(|error| format!("{error:?}"))?;
        let address = memory.resource().ptr;
        Ok(Self { tensor, address })
    }

    /// The address of number `at`.
    pub(super) fn at(&self, at: usize) -> *mut c_void {
        (self.address + 4 * at as u64) as *mut c_void
    }

    /// Waits until the numbers are there, and all else that this thread asked of the card.
    pub(super) fn wait(&self) -> Result<(), String> {
        let waited = block_on(self.tensor.client.sync_buffers([&self.tensor.handle]));
        waited.map_err(|error| format!("{error:?}"))
    }
}

/// An error of the driver in words.
fn told(error: &DriverError) -> String {
    let name = error.error_name().ok();
    let name = name.map(|name| name.to_string_lossy().into_owned());
    let text = error.error_string().ok();
    let text = text.map(|text| text.to_string_lossy().into_owned());
    match (name, text) {
        (Some(name), Some(text)) => format!("the driver says {name}, {text}"),
        _ => format!("the driver says {:?}", error.0),
    }
}
