//! Writing a checkpoint tensor by tensor: at most one of them is in memory.

use std::collections::BTreeMap;
use std::io::{self, Write};

use burn::tensor::{DType, TensorData};

use rayon::prelude::*;

use crate::{
    convert::{Rows, convert},
    dtype::WeightDtype,
    error::WeightError,
    file::WeightFile,
    int8::round_to_int8,
};

/// Number format of what is written.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// As in the file that is read.
    Unchanged,
    /// Floating-point tensors in this one.
    Float(WeightDtype),
    /// The matrices and kernels whose names are chosen as int8, `[output, input, ...]`, each with a factor for every output channel,
    /// `[output, 1, ...]`, under its name and `_scale`; all others as they are.
    Int8(fn(&str) -> bool),
}

/// What is written of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Numbers,
    Integers,
    Factors,
}

/// The ending of the name of a matrix's factors.
const FACTORS: &str = "_scale";

/// Why a checkpoint was not written.
#[derive(Debug)]
pub enum StreamError {
    /// A tensor cannot be read, or its numbers do not fit the format.
    Weights(WeightError),
    /// The file cannot be written.
    Io(io::Error),
    /// The caller stopped it.
    Stopped,
}

/// A tensor of the file to be written.
struct Entry {
    /// In the file that is read.
    source: String,
    part: Part,
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    len: usize,
}

impl WeightFile {
    /// Writes the tensors of these names as safetensors in a number format.
    /// Tensors named in `loose` may hold infinite numbers. After every tensor `go_on` gets the number of bytes written
    /// so far and the number of all bytes, and returns false to stop.
    ///
    /// # Errors
    /// [`StreamError`]: weights that cannot be read or converted, a failed write, or a stop.
    pub fn stream(
        &self,
        names: &[String],
        loose: &[String],
        format: Format,
        out: &mut impl Write,
        mut go_on: impl FnMut(u64, u64) -> bool,
    ) -> Result<(), StreamError> {
        let entries = self.entries(names, format).map_err(StreamError::Weights)?;
        let header = header(&entries);
        let all = entries.iter().map(|entry| entry.len as u64).sum::<u64>() + header.len() as u64;
        out.write_all(&header).map_err(StreamError::Io)?;
        let mut written = header.len() as u64;
        for entry in &entries {
            let strict = !loose.contains(&entry.name);
            let data = self
                .converted(entry, strict)
                .map_err(StreamError::Weights)?;
            out.write_all(data.as_bytes()).map_err(StreamError::Io)?;
            written += entry.len as u64;
            if !go_on(written, all) {
                return Err(StreamError::Stopped);
            }
        }
        Ok(())
    }

    fn converted(&self, entry: &Entry, strict: bool) -> Result<TensorData, WeightError> {
        let damaged = || WeightError::Numbers {
            path: self.path().to_owned(),
            tensors: vec![entry.source.clone()],
        };
        let data = self.read(&entry.source)?;
        if entry.part != Part::Numbers {
            let (integers, factors) = rounded(&data).ok_or_else(damaged)?;
            return Ok(match entry.part {
                Part::Factors => TensorData::new(factors, entry.shape.clone()),
                _ => TensorData::new(integers, entry.shape.clone()),
            });
        }
        match convert(&data, entry.dtype) {
            Some((_, false)) if strict => Err(damaged()),
            Some((data, _)) => Ok(data),
            None => Ok(data.convert_dtype(entry.dtype)),
        }
    }

    /// Wide number formats first, so that every tensor is aligned.
    fn entries(&self, names: &[String], format: Format) -> Result<Vec<Entry>, WeightError> {
        let mut entries = Vec::new();
        for name in names {
            let (found, shape) = self.kind(name).ok_or_else(|| self.unwritable(name))?;
            let entry = |part, ending, dtype: DType, shape: Vec<usize>| Entry {
                source: name.clone(),
                part,
                name: format!("{name}{ending}"),
                dtype,
                len: shape.iter().product::<usize>() * dtype.size(),
                shape,
            };
            let dtype = match format {
                Format::Float(dtype) if found.is_float() => dtype.into(),
                Format::Int8(chosen) if found.is_float() && shape.len() >= 2 && chosen(name) => {
                    let mut factors = vec![1; shape.len()];
                    factors[0] = shape[0];
                    entries.push(entry(Part::Factors, FACTORS, DType::F32, factors));
                    entries.push(entry(Part::Integers, "", DType::I8, shape));
                    continue;
                }
                _ => found,
            };
            format_name(dtype).ok_or_else(|| self.unwritable(name))?;
            entries.push(entry(Part::Numbers, "", dtype, shape));
        }
        entries.sort_by(|a, b| {
            b.dtype
                .size()
                .cmp(&a.dtype.size())
                .then(a.name.cmp(&b.name))
        });
        Ok(entries)
    }

    fn unwritable(&self, name: &str) -> WeightError {
        let reason = format!("`{name}` has a number format that safetensors does not have");
        WeightError::read(self.path(), reason)
    }
}

/// The rows of a matrix as integers, and the factor of each; none if a number is not finite.
fn rounded(data: &TensorData) -> Option<(Vec<i8>, Vec<f32>)> {
    let rows = Rows::of(data)?;
    let [n, k] = rows.dims();
    let (mut integers, mut factors) = (vec![0; n * k], vec![0.0; n]);
    let all = integers.par_chunks_mut(k.max(1)).zip(&mut factors);
    let good = all.enumerate().map(|(i, (to, factor))| {
        let mut numbers = vec![0.0; k];
        let finite = rows.read(i, &mut numbers);
        *factor = round_to_int8(&numbers, to);
        finite
    });
    good.reduce(|| true, |a, b| a && b)
        .then_some((integers, factors))
}

/// The name of a number format in a header.
fn format_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F64 => "F64",
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I16 => "I16",
        DType::I8 => "I8",
        DType::U8 => "U8",
        _ => return None,
    })
}

/// The header with its length in front, padded to a multiple of 8 bytes.
fn header(entries: &[Entry]) -> Vec<u8> {
    let mut at = 0;
    let mut map = BTreeMap::new();
    for Entry {
        name,
        dtype,
        shape,
        len,
        ..
    } in entries
    {
        let info = serde_json::json!({
            "dtype": format_name(*dtype).unwrap_or_default(),
            "shape": shape,
            "data_offsets": [at, at + len],
        });
        map.insert(name.as_str(), info);
        at += len;
    }
    map.insert("__metadata__", serde_json::json!({ "format": "pt" }));
    let mut text = serde_json::to_vec(&map).unwrap_or_default();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn file() -> WeightFile {
        let mut file = WeightFile::empty("test");
        file.replace("a.weight", TensorData::new(vec![1.0f32, -2.5, 3.0], [3]));
        file.replace(
            "b.mask",
            TensorData::new(vec![f32::NEG_INFINITY, 0.0], [1, 2]),
        );
        file.replace("c.index", TensorData::new(vec![7i64, 8], [2]));
        file
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_streamed_is_read_back() {
        for (format, found) in [
            (Format::Unchanged, DType::F32),
            (Format::Float(WeightDtype::F16), DType::F16),
            (Format::Float(WeightDtype::Bf16), DType::BF16),
        ] {
            let (mut bytes, mut seen) = (vec![], vec![]);
            let all = names(&["a.weight", "b.mask", "c.index"]);
            let loose = names(&["b.mask"]);
            let told = |done, of| {
                seen.push((done, of));
                true
            };
            file()
                .stream(&all, &loose, format, &mut bytes, told)
                .unwrap();
            assert_eq!(seen.len(), 3);
            assert_eq!(seen[2], (bytes.len() as u64, bytes.len() as u64));
            let back = WeightFile::from_bytes(bytes).unwrap();
            assert_eq!(
                back.names().collect::<Vec<_>>(),
                ["a.weight", "b.mask", "c.index"]
            );
            let a = back.read("a.weight").unwrap();
            assert_eq!(a.dtype(), found);
            assert_eq!(a.iter::<f32>().collect::<Vec<_>>(), [1.0, -2.5, 3.0]);
            let c = back.read("c.index").unwrap();
            assert_eq!(c.iter::<i64>().collect::<Vec<_>>(), [7, 8]);
        }
    }

    #[test]
    fn numbers_that_are_none_and_stops_end_it() {
        let (mut bytes, mask) = (vec![], names(&["b.mask"]));
        let error = file()
            .stream(&mask, &[], Format::Unchanged, &mut bytes, |_, _| true)
            .unwrap_err();
        assert!(matches!(
            error,
            StreamError::Weights(WeightError::Numbers { .. })
        ));
        let error = file()
            .stream(&mask, &mask, Format::Unchanged, &mut bytes, |_, _| false)
            .unwrap_err();
        assert!(matches!(error, StreamError::Stopped));
        let absent = names(&["x"]);
        assert!(
            file()
                .stream(&absent, &[], Format::Unchanged, &mut bytes, |_, _| true)
                .is_err()
        );
    }

    #[test]
    fn matrices_of_eight_bits() {
        let mut file = file();
        let numbers = vec![1.27f32, -0.5, 0.0, 2.54, 0.013, -2.54];
        file.replace("d.weight", TensorData::new(numbers.clone(), [2, 3]));
        let all = names(&["a.weight", "d.weight"]);
        let mut bytes = vec![];
        let format = Format::Int8(|name| name.ends_with("weight"));
        file.stream(&all, &[], format, &mut bytes, |_, _| true)
            .unwrap();
        let back = WeightFile::from_bytes(bytes).unwrap();
        // The factors are no tensor of their own, and what is no matrix stays.
        assert_eq!(back.names().collect::<Vec<_>>(), ["a.weight", "d.weight"]);
        let read = back.read("d.weight").unwrap();
        for (row, (new, old)) in read.iter::<f32>().zip(numbers).enumerate() {
            let step = [0.01, 0.02][row / 3];
            assert!((new - old).abs() <= 0.501 * step, "{new} {old}");
        }
        file.replace("d.weight", TensorData::new(vec![f32::NAN, 1.0], [1, 2]));
        let error = file.stream(&all, &[], format, &mut vec![], |_, _| true);
        assert!(matches!(
            error.unwrap_err(),
            StreamError::Weights(WeightError::Numbers { .. })
        ));
    }
}
