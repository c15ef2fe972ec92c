//! Tensors of a safetensors file in double precision.

use std::collections::BTreeMap;
use std::path::Path;

use nextscale_weights::WeightError;
use safetensors::{Dtype, SafeTensors};

/// One stored tensor in double precision, in which f32 and 32-bit integers are exact.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f64>,
}

/// Reads a whole safetensors file.
///
/// # Errors
/// If the file is missing or damaged, or has numbers of an unsupported kind.
pub fn read_safetensors(path: &Path) -> Result<BTreeMap<String, Stored>, WeightError> {
    let bytes = std::fs::read(path).map_err(|e| WeightError::read(path, e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| WeightError::read(path, e))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let Some(values) = numbers(view.dtype(), view.data()) else {
            let reason = format!("{name} holds {:?}", view.dtype());
            return Err(WeightError::read(path, reason));
        };
        let dims = view.shape().to_vec();
        tensors.insert(name, Stored { dims, values });
    }
    Ok(tensors)
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&c| read(c)).collect()
    }
    Some(match dtype {
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::F32 => each(bytes, |c| f64::from(f32::from_le_bytes(c))),
        Dtype::I64 => each(bytes, |c| i64::from_le_bytes(c) as f64),
        Dtype::I32 => each(bytes, |c| f64::from(i32::from_le_bytes(c))),
        Dtype::I16 => each(bytes, |c| f64::from(i16::from_le_bytes(c))),
        Dtype::U8 | Dtype::BOOL => each(bytes, |[c]: [u8; 1]| f64::from(c)),
        Dtype::I8 => each(bytes, |[c]: [u8; 1]| f64::from(c as i8)),
        _ => return None,
    })
}
