//! The tensors of a safetensors file, which is mapped into memory: nothing is read before it is needed, and then where it lies.

use std::fs::File;
use std::path::{Path, PathBuf};

use burn::store::{bridge, burn_pack::Tensor};
use burn::tensor::{AllocationProperty, BoolStore, Bytes, DType, Shape, TensorData};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::convert;
use crate::error::WeightError;
use crate::format::Tensors;
use crate::small;

/// A tensor of a file.
pub(crate) struct Place {
    path: PathBuf,
    bytes: bytes::Bytes,
    pub info: TensorInfo,
}

impl Place {
    /// Its numbers, as they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The tensors of a file with this header, of `length` bytes.
///
/// # Errors
/// [`WeightError::Read`] for a file that cannot be read, and a number format that is not known here.
#[allow(unsafe_code)]
pub(crate) fn open(
    path: &Path,
    metadata: &Metadata,
    length: usize,
) -> Result<Tensors, WeightError> {
    let file = File::open(path).map_err(|e| WeightError::read(path, e))?;
    // SAFETY: as with every mapped file, another program must not shorten it while it is open.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| WeightError::read(path, e))?;
    of_bytes(path, bytes::Bytes::from_owner(map), metadata, length)
}

/// The same of the bytes of a file, called `path` in errors.
pub(crate) fn of_bytes(
    path: &Path,
    file: bytes::Bytes,
    metadata: &Metadata,
    length: usize,
) -> Result<Tensors, WeightError> {
    let numbers = file.slice(8 + length..);
    let infos = metadata.tensors();
    let place = |name: &str| {
        let info = infos.get(name)?;
        let (from, to) = info.data_offsets;
        Some(Place {
            path: path.to_owned(),
            bytes: numbers.slice(from..to),
            info: (*info).clone(),
        })
    };
    let mut tensors = Tensors::new();
    for name in infos.keys().filter(|name| !small::is_scale(name, &infos)) {
        let Some(own) = place(name) else { continue };
        let scale = small::scale_of(name, &infos).and_then(|scale| place(&scale));
        let tensor = match small::widened(own.info.dtype, scale.is_some()) {
            Some(dtype) => small::tensor(name, own, scale, dtype),
            None => plain(name, own)?,
        };
        tensors.insert(name.clone(), tensor);
    }
    Ok(tensors)
}

fn plain(name: &str, place: Place) -> Result<Tensor, WeightError> {
    let dtype = match place.info.dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        other => {
            let reason = format!("`{name}` holds numbers of type {other}, which are not read");
            return Err(WeightError::read(&place.path, reason));
        }
    };
    let shape = Shape::from(place.info.shape.clone());
    let (out, bytes) = (shape.clone(), place.bytes);
    let read = move || {
        // Numbers may lie at any byte of a file.
        if !(bytes.as_ptr() as usize).is_multiple_of(dtype.size()) {
            return Ok(convert::numbers(&bytes, out.to_vec(), dtype));
        }
        let bytes = Bytes::from_shared(bytes.clone(), AllocationProperty::File);
        Ok(TensorData::from_bytes(bytes, out.clone(), dtype))
    };
    Ok(bridge::deferred(name.to_owned(), dtype, shape, None, read))
}
