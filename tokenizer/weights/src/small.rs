//! Numbers of eight bits in safetensors files, which are widened as they are read: floating-point ones (E4M3 and E5M2) to bf16, and
//! integers that have a scale to f32.
//!
//! ```text
//! w = number * scale    scale: one number, one for each row, or one for each block of a matrix
//! ```
//!
//! The scale of `x.weight` is `x.weight_scale`, `x.weight_scale_inv` or `x.scale_weight`, as the tools that write such files call it.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;

use burn::store::{bridge, burn_pack::Tensor};
use burn::tensor::{DType, Shape, TensorData, bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorInfo};

use crate::convert::{Number, filled};
use crate::mapped::Place;

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

/// Names of tensors, and what a file says of them.
type Infos<'a> = HashMap<String, &'a TensorInfo>;

/// Whether a tensor says how others of eight bits are multiplied.
pub(crate) fn is_scale(name: &str, infos: &Infos) -> bool {
    let belongs = SCALES.iter().any(|(scale, of)| {
        let stem = name.strip_suffix(scale);
        let whole = stem.and_then(|stem| infos.get(&format!("{stem}{of}")));
        whole.is_some_and(|info| is_small(info.dtype))
    });
    let unused = || {
        UNUSED.iter().any(|unused| name.ends_with(unused))
            && infos.values().any(|info| is_small(info.dtype))
    };
    belongs || unused()
}

fn is_small(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2 | Dtype::I8)
}

/// The scale that belongs to a tensor.
pub(crate) fn scale_of(name: &str, infos: &Infos) -> Option<String> {
    SCALES.iter().find_map(|(scale, of)| {
        let name = format!("{}{scale}", name.strip_suffix(of)?);
        infos.contains_key(&name).then_some(name)
    })
}

/// What the numbers of a tensor become as they are read; none if they stay as they are.
pub(crate) fn widened(dtype: Dtype, has_scale: bool) -> Option<DType> {
    match dtype {
        Dtype::F8_E4M3 | Dtype::F8_E5M2 => Some(DType::BF16),
        Dtype::I8 if has_scale => Some(DType::F32),
        _ => None,
    }
}

/// The numbers of a scale.
fn floats(place: &Place) -> io::Result<Vec<f32>> {
    let bytes = place.bytes();
    let halves = || {
        bytes
            .chunks_exact(2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    match place.info.dtype {
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

/// A tensor of eight bits that becomes `dtype`, one of those of [`widened`].
pub(crate) fn tensor(name: &str, place: Place, scale: Option<Place>, dtype: DType) -> Tensor {
    let shape = Shape::from(place.info.shape.clone());
    let (out, owner) = (shape.clone(), name.to_owned());
    let read = move || {
        let numbers = match &scale {
            None => vec![1.0],
            Some(place) => floats(place).map_err(failed)?,
        };
        let of = scale.as_ref().map_or(&[][..], |place| &place.info.shape);
        let scale = Scale::new(numbers, of, &out);
        let scale = scale.ok_or_else(|| failed(format!("the scale of `{owner}` does not fit")))?;
        let (bytes, shape) = (place.bytes(), out.clone());
        Ok(match place.info.dtype {
            Dtype::F8_E4M3 => scale.widen(bytes, shape, |x, by| bf16::from_f32(e4m3(x) * by)),
            Dtype::F8_E5M2 => scale.widen(bytes, shape, |x, by| bf16::from_f32(e5m2(x) * by)),
            _ => scale.widen(bytes, shape, |x, by| f32::from(x.cast_signed()) * by),
        })
    };
    bridge::deferred(name.to_owned(), dtype, shape, None, read)
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

    /// All numbers of the matrix, each by `convert` of its byte and its factor.
    #[allow(unsafe_code)]
    fn widen<T: Number>(
        &self,
        bytes: &[u8],
        shape: Shape,
        convert: impl Fn(u8, f32) -> T + Sync,
    ) -> TensorData {
        let write = |to: &mut [MaybeUninit<T>]| {
            let rows = to.par_chunks_mut(self.columns).enumerate();
            let rows = rows.zip(bytes.par_chunks(self.columns));
            rows.for_each(|((row, to), from)| {
                let factors = &self.numbers[row / self.block[0] * self.across..][..self.across];
                let blocks = to.chunks_mut(self.block[1]);
                for (i, (to, from)) in blocks.zip(from.chunks(self.block[1])).enumerate() {
                    for (to, &byte) in to.iter_mut().zip(from) {
                        to.write(convert(byte, factors[i]));
                    }
                }
            });
            true
        };
        // SAFETY: there are as many numbers as bytes, and each has its place.
        unsafe { filled(bytes.len(), shape.to_vec(), write) }.0
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
            (
                "d.weight",
                view(Dtype::I8, &[2, 3], &[1, 2, 3, 255, 254, 129]),
            ),
            ("d.weight_scale", view(Dtype::F32, &[2, 1], &rows)),
            ("counts", view(Dtype::I8, &[2], &[1, 255])),
            ("bias", view(Dtype::F32, &[1], &one)),
        ];
        safetensors::serialize_to_file(all, None, &path).unwrap();
        let file = WeightFile::open(&path).unwrap();
        let names: Vec<_> = file.names().collect();
        assert_eq!(
            names,
            [
                "a.weight",
                "b.weight",
                "bias",
                "c.weight",
                "counts",
                "d.weight",
                "plain.weight"
            ]
        );
        let read = |name: &str| {
            let data = file.read(name).unwrap();
            data.iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(read("plain.weight"), [1.0; 6]);
        assert_eq!(read("a.weight"), [0.5; 6]);
        assert_eq!(read("b.weight"), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(read("c.weight"), [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
        assert_eq!(read("d.weight"), [1.0, 2.0, 3.0, -2.0, -4.0, -254.0]);
        assert_eq!(file.kind("d.weight").unwrap().0, DType::F32);
        assert_eq!(read("counts"), [1.0, -1.0]);
        assert_eq!(read("bias"), [0.5]);
        assert_eq!(file.kind("a.weight").unwrap().0, DType::BF16);
    }
}
