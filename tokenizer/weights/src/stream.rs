//! Writing a checkpoint tensor by tensor: at most one of them is in memory.

use std::collections::BTreeMap;
use std::io::{self, Write};

use burn::tensor::{DType, TensorData};

use crate::{convert::convert, dtype::WeightDtype, error::WeightError, file::WeightFile};

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
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    len: usize,
}

impl WeightFile {
    /// Writes the tensors of these names as safetensors, floating-point tensors in `dtype` or, without it, as they are.
    /// Tensors named in `loose` may hold infinite numbers. After every tensor `go_on` gets the number of bytes written
    /// so far and the number of all bytes, and returns false to stop.
    ///
    /// # Errors
    /// [`StreamError`]: weights that cannot be read or converted, a failed write, or a stop.
    pub fn stream(
        &self,
        names: &[String],
        loose: &[String],
        dtype: Option<WeightDtype>,
        out: &mut impl Write,
        mut go_on: impl FnMut(u64, u64) -> bool,
    ) -> Result<(), StreamError> {
        let entries = self.entries(names, dtype).map_err(StreamError::Weights)?;
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
        let data = self.read(&entry.name)?;
        match convert(&data, entry.dtype) {
            Some((_, false)) if strict => Err(WeightError::Numbers {
                path: self.path().to_owned(),
                tensors: vec![entry.name.clone()],
            }),
            Some((data, _)) => Ok(data),
            None => Ok(data.convert_dtype(entry.dtype)),
        }
    }

    /// Wide number formats first, so that every tensor is aligned.
    fn entries(
        &self,
        names: &[String],
        dtype: Option<WeightDtype>,
    ) -> Result<Vec<Entry>, WeightError> {
        let entry = |name: &String| {
            let (found, shape) = self.kind(name)?;
            let wanted = match dtype {
                Some(dtype) if found.is_float() => dtype.into(),
                _ => found,
            };
            format_name(wanted)?;
            let len = shape.iter().product::<usize>() * wanted.size();
            let (name, dtype) = (name.clone(), wanted);
            Some(Entry {
                name,
                dtype,
                shape,
                len,
            })
        };
        let mut entries = Vec::new();
        for name in names {
            entries.push(entry(name).ok_or_else(|| {
                let reason = format!("`{name}` has a number format that safetensors does not have");
                WeightError::read(self.path(), reason)
            })?);
        }
        entries.sort_by(|a, b| {
            b.dtype
                .size()
                .cmp(&a.dtype.size())
                .then(a.name.cmp(&b.name))
        });
        Ok(entries)
    }
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
        for (dtype, found) in [
            (None, DType::F32),
            (Some(WeightDtype::F16), DType::F16),
            (Some(WeightDtype::Bf16), DType::BF16),
        ] {
            let (mut bytes, mut seen) = (vec![], vec![]);
            let all = names(&["a.weight", "b.mask", "c.index"]);
            let loose = names(&["b.mask"]);
            let told = |done, of| {
                seen.push((done, of));
                true
            };
            file()
                .stream(&all, &loose, dtype, &mut bytes, told)
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
            .stream(&mask, &[], None, &mut bytes, |_, _| true)
            .unwrap_err();
        assert!(matches!(
            error,
            StreamError::Weights(WeightError::Numbers { .. })
        ));
        let error = file()
            .stream(&mask, &mask, None, &mut bytes, |_, _| false)
            .unwrap_err();
        assert!(matches!(error, StreamError::Stopped));
        let absent = names(&["x"]);
        assert!(
            file()
                .stream(&absent, &[], None, &mut bytes, |_, _| true)
                .is_err()
        );
    }
}
