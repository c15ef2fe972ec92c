//! Safetensors files with numbers of eight bits (E4M3 and E5M2), which are widened to bf16 as they are read.
//!
//! ```text
//! w = fp8 * scale       scale: one number, one for each row, or one for each block of a matrix
//! ```
//!
//! The scale of `x.weight` is `x.weight_scale`, `x.weight_scale_inv` or `x.scale_weight`, as the tools that write such files call it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::store::{bridge, burn_pack::Tensor};
use burn::tensor::{BoolStore, DType, Shape, TensorData, bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::WeightError;
use crate::format::Tensors;

/// Endings of the names of scales that belong to a tensor, and how its name ends instead.
const SCALES: [(&str, &str); 3] = [
    (".weight_scale", ".weight"),
    (".weight_scale_inv", ".weight"),
    (".scale_weight", ".weight"),
];
/// Names and endings of what such files hold for the products of activations, which are not rounded here.
const UNUSED: [&str; 4] = [
    ".input_scale",
    ".scale_input",
    "scaled_fp8",
    ".activation_scale",
];

/// Whether a file holds numbers of eight bits.
pub(crate) fn is_fp8(metadata: &Metadata) -> bool {
    metadata
        .tensors()
        .values()
        .any(|info| is_fp8_type(info.dtype))
}

fn is_fp8_type(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2)
}

/// Where a tensor lies in a file.
struct Place {
    path: PathBuf,
    start: u64,
    info: TensorInfo,
}

impl Place {
    fn read(&self) -> io::Result<Vec<u8>> {
        let (from, to) = self.info.data_offsets;
        let mut bytes = vec![0; to - from];
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start + from as u64))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The numbers of a scale.
    fn floats(&self) -> io::Result<Vec<f32>> {
        let bytes = self.read()?;
        let halves = || {
            bytes
                .chunks_exact(2)
                .map(|b| u16::from_le_bytes([b[0], b[1]]))
        };
        match self.info.dtype {
            Dtype::F32 => {
                let words = bytes.chunks_exact(4);
                Ok(words
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect())
            }
            Dtype::BF16 => Ok(halves().map(|b| bf16::from_bits(b).to_f32()).collect()),
            Dtype::F16 => Ok(halves().map(|b| f16::from_bits(b).to_f32()).collect()),
            other => Err(io::Error::other(format!("a scale of type {other}"))),
        }
    }
}

/// The tensors of a file with a header of `header_length` bytes.
///
/// # Errors
/// [`WeightError::Read`] for a number format that is not read.
pub(crate) fn open(
    path: &Path,
    metadata: &Metadata,
    header_length: usize,
) -> Result<Tensors, WeightError> {
    let place = |info: &TensorInfo| Place {
        path: path.to_owned(),
        start: (8 + header_length) as u64,
        info: info.clone(),
    };
    let infos = metadata.tensors();
    let mut tensors = Tensors::new();
    for (name, info) in &infos {
        let is_scale = SCALES.iter().any(|(scale, of)| {
            let stem = name.strip_suffix(scale);
            stem.is_some_and(|stem| infos.contains_key(&format!("{stem}{of}")))
        });
        if is_scale || UNUSED.iter().any(|unused| name.ends_with(unused)) {
            continue;
        }
        let tensor = if is_fp8_type(info.dtype) {
            let scale = SCALES.iter().find_map(|(scale, of)| {
                let stem = name.strip_suffix(of)?;
                infos.get(&format!("{stem}{scale}"))
            });
            widened(name, place(info), scale.map(|info| place(info)))
        } else {
            plain(name, place(info))?
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
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        other => {
            let reason = format!("`{name}` holds numbers of type {other}, which are not read");
            return Err(WeightError::read(&place.path, reason));
        }
    };
    let shape = Shape::from(place.info.shape.clone());
    let out = shape.clone();
    let read = move || {
        let bytes = place.read().map_err(failed)?;
        Ok(TensorData::from_bytes_vec(bytes, out.clone(), dtype))
    };
    Ok(bridge::deferred(name.to_owned(), dtype, shape, None, read))
}

fn widened(name: &str, place: Place, scale: Option<Place>) -> Tensor {
    let shape = Shape::from(place.info.shape.clone());
    let (out, owner) = (shape.clone(), name.to_owned());
    let read = move || {
        let scale = match &scale {
            None => None,
            Some(place) => {
                let numbers = place.floats().map_err(failed)?;
                let scale = Scale::new(numbers, &place.info.shape, &out);
                Some(scale.ok_or_else(|| failed(format!("the scale of `{owner}` does not fit")))?)
            }
        };
        let decode = match place.info.dtype {
            Dtype::F8_E4M3 => e4m3,
            _ => e5m2,
        };
        let bytes = place.read().map_err(failed)?;
        let scaled = |(i, &byte): (usize, &u8)| {
            let factor = scale.as_ref().map_or(1.0, |scale| scale.at(i));
            bf16::from_f32(decode(byte) * factor)
        };
        let wide: Vec<bf16> = bytes.iter().enumerate().map(scaled).collect();
        Ok(TensorData::new(wide, out.clone()))
    };
    bridge::deferred(name.to_owned(), DType::BF16, shape, None, read)
}

fn failed(reason: impl ToString) -> burn::store::burn_pack::Error {
    burn::store::burn_pack::Error::IoError(reason.to_string())
}

/// The factors of a matrix, block by block; one block is the whole matrix, a row, or a rectangle.
struct Scale {
    numbers: Vec<f32>,
    /// Numbers of a row of the matrix.
    columns: usize,
    /// Rows and columns of a block.
    block: [usize; 2],
    /// Blocks of a row.
    across: usize,
}

impl Scale {
    /// None if the shapes do not go together.
    fn new(numbers: Vec<f32>, shape: &[usize], of: &[usize]) -> Option<Self> {
        let rows = of.first().copied().unwrap_or(1).max(1);
        let columns = (of.iter().product::<usize>() / rows).max(1);
        let blocks = match shape.iter().product::<usize>() {
            1 => [1, 1],
            n if n == rows && shape.iter().filter(|&&side| side != 1).count() == 1 => [rows, 1],
            _ => [*shape.first()?, *shape.get(1)?],
        };
        let fits =
            blocks[0] * blocks[1] == numbers.len() && blocks[0] <= rows && blocks[1] <= columns;
        fits.then(|| Self {
            numbers,
            columns,
            block: [rows.div_ceil(blocks[0]), columns.div_ceil(blocks[1])],
            across: blocks[1],
        })
    }

    fn at(&self, i: usize) -> f32 {
        let (row, column) = (i / self.columns, i % self.columns);
        self.numbers[row / self.block[0] * self.across + column / self.block[1]]
    }
}

/// A number with 4 bits of exponent and 3 of mantissa; it has no infinity.
fn e4m3(byte: u8) -> f32 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => sign * mantissa * 2f32.powi(-9),
        _ => sign * (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    }
}

/// A number with 5 bits of exponent and 2 of mantissa: the upper half of an f16.
fn e5m2(byte: u8) -> f32 {
    f16::from_bits(u16::from(byte) << 8).to_f32()
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::WeightFile;

    #[test]
    fn the_numbers_of_both_formats() {
        for (byte, number) in [
            (0x00, 0.0),
            (0x38, 1.0),
            (0xb8, -1.0),
            (0x7e, 448.0),
            (0x01, 2f32.powi(-9)),
            (0x08, 2f32.powi(-6)),
        ] {
            assert_eq!(e4m3(byte), number);
        }
        assert!(e4m3(0x7f).is_nan() && e5m2(0x7f).is_nan());
        for (byte, number) in [
            (0x3c, 1.0),
            (0xc0, -2.0),
            (0x7b, 57344.0),
            (0x7c, f32::INFINITY),
        ] {
            assert_eq!(e5m2(byte), number);
        }
    }

    #[test]
    fn scales_go_to_their_tensors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let ones = [0x38u8; 6];
        let (one, rows, blocks) = (0.5f32.to_le_bytes(), [1f32, 2.0], [1f32, 2.0, 3.0, 4.0]);
        let bytes = |numbers: &[f32]| {
            numbers
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<_>>()
        };
        let (rows, blocks) = (bytes(&rows), bytes(&blocks));
        let view =
            |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let all = [
            ("plain.weight", view(Dtype::F8_E4M3, &[2, 3], &ones[..])),
            ("a.weight", view(Dtype::F8_E4M3, &[2, 3], &ones)),
            ("a.weight_scale", view(Dtype::F32, &[], &one)),
            ("a.input_scale", view(Dtype::F32, &[], &one)),
            ("b.weight", view(Dtype::F8_E4M3, &[2, 3], &ones)),
            ("b.scale_weight", view(Dtype::F32, &[2, 1], &rows)),
            ("c.weight", view(Dtype::F8_E4M3, &[2, 3], &ones)),
            ("c.weight_scale_inv", view(Dtype::F32, &[2, 2], &blocks)),
            ("bias", view(Dtype::F32, &[1], &one)),
        ];
        safetensors::serialize_to_file(all, None, &path).unwrap();
        let file = WeightFile::open(&path).unwrap();
        let names: Vec<_> = file.names().collect();
        assert_eq!(
            names,
            ["a.weight", "b.weight", "bias", "c.weight", "plain.weight"]
        );
        let read = |name: &str| {
            let data = file.read(name).unwrap();
            data.iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(read("plain.weight"), [1.0; 6]);
        assert_eq!(read("a.weight"), [0.5; 6]);
        assert_eq!(read("b.weight"), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(read("c.weight"), [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
        assert_eq!(read("bias"), [0.5]);
        assert_eq!(file.kind("a.weight").unwrap().0, DType::BF16);
    }
}
