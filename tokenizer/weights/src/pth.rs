//! A safetensors file as an archive for `torch.load`: a ZIP of one pickle, which names the tensors, and a file of numbers for each.
//!
//! The layout is that of `torch.save` since version 1.6: `archive/data.pkl`, `archive/version`, `archive/byteorder`, `archive/data/0`,
//! `archive/data/1`, .. The pickle has nothing in it but a dictionary of tensors, so `weights_only=True` reads it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use burn::tensor::DType;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::WeightError;
use crate::file::WeightFile;

/// Bytes to which the numbers are aligned, as `torch.save` does.
const ALIGNMENT: u16 = 64;

/// Rewrites the weights in `from` as the PyTorch file `to`, tensor by tensor. An existing file is replaced once the new one is
/// complete.
///
/// # Errors
/// [`WeightError`] if a file cannot be read or written, or holds a number format that PyTorch has no storage for.
pub fn rewrite_as_pytorch(from: &Path, to: &Path) -> Result<(), WeightError> {
    let file = WeightFile::open(from)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let hidden = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let fail = |e: &dyn std::fmt::Display| WeightError::write(to, e);
    let hidden = hidden.map_err(|e| fail(&e))?;
    write(&file, hidden.as_file(), to)?;
    hidden.persist(to).map_err(|e| fail(&e.error))?;
    Ok(())
}

fn write(file: &WeightFile, out: &File, to: &Path) -> Result<(), WeightError> {
    let fail = |e: &dyn std::fmt::Display| WeightError::write(to, e);
    let names: Vec<&str> = file.names().collect();
    let mut pickle = Pickle::start();
    for (i, name) in names.iter().enumerate() {
        let (dtype, shape) = file.kind(name).unwrap_or((DType::F32, vec![]));
        let storage = storage(dtype)
            .ok_or_else(|| fail(&format!("`{name}` has a number format that is not written")))?;
        pickle.tensor(name, i, storage, &shape);
    }
    let mut zip = ZipWriter::new(BufWriter::new(out));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true)
        .with_alignment(ALIGNMENT);
    let entry = |zip: &mut ZipWriter<_>, name: &str, bytes: &[u8]| -> Result<(), WeightError> {
        let started = zip.start_file(format!("archive/{name}"), options);
        started.map_err(|e| fail(&e))?;
        zip.write_all(bytes).map_err(|e| fail(&e))
    };
    entry(&mut zip, "data.pkl", &pickle.finish())?;
    entry(&mut zip, "byteorder", b"little")?;
    for (i, name) in names.iter().enumerate() {
        let data = file.read(name)?;
        entry(&mut zip, &format!("data/{i}"), data.as_bytes())?;
    }
    entry(&mut zip, "version", b"3\n")?;
    let mut out = zip.finish().map_err(|e| fail(&e))?;
    out.flush().map_err(|e: io::Error| fail(&e))
}

/// The class of a storage in `torch`.
fn storage(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F64 => "DoubleStorage",
        DType::F32 => "FloatStorage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::I64 => "LongStorage",
        DType::I32 => "IntStorage",
        DType::I8 => "CharStorage",
        DType::U8 => "ByteStorage",
        _ => return None,
    })
}

/// A pickle of protocol 2 that is a dictionary of tensors.
struct Pickle(Vec<u8>);

impl Pickle {
    fn start() -> Self {
        // PROTO 2, EMPTY_DICT, MARK
        Self(b"\x80\x02}(".to_vec())
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X'); // BINUNICODE
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
    }

    fn number(&mut self, number: usize) {
        self.0.extend([0x8a, 8]); // LONG1 of 8 bytes
        self.0.extend((number as u64).to_le_bytes());
    }

    fn tuple(&mut self, numbers: &[usize]) {
        self.0.push(b'('); // MARK
        for &number in numbers {
            self.number(number);
        }
        self.0.push(b't'); // TUPLE
    }

    /// A key and its tensor: `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.
    fn tensor(&mut self, name: &str, key: usize, storage: &str, shape: &[usize]) {
        self.text(name);
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.extend(b"(("); // MARK of the arguments, MARK of the storage
        self.text("storage");
        self.global("torch", storage);
        self.text(&key.to_string());
        self.text("cpu");
        self.number(shape.iter().product());
        self.0.extend(b"tQ"); // TUPLE, BINPERSID
        self.number(0);
        self.tuple(shape);
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i].max(1);
        }
        self.tuple(&strides);
        self.0.push(0x89); // NEWFALSE
        self.global("collections", "OrderedDict");
        self.0.extend(b")RtR"); // EMPTY_TUPLE, REDUCE, TUPLE of the arguments, REDUCE
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend(b"u."); // SETITEMS, STOP
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn an_archive_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (
            folder.path().join("a.safetensors"),
            folder.path().join("a.pth"),
        );
        let numbers: Vec<f32> = (0..6).map(|i| i as f32 * 0.5 - 1.0).collect();
        let tensors = [
            ("blocks.0.w", vec![2usize, 3], numbers.clone()),
            ("b", vec![3], numbers[..3].to_vec()),
        ];
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, shape, values)| {
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                ((*name).to_owned(), shape.clone(), bytes)
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            let dtype = safetensors::Dtype::F32;
            let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes);
            (name.as_str(), view.unwrap())
        });
        safetensors::serialize_to_file(views, None, &from).unwrap();
        rewrite_as_pytorch(&from, &to).unwrap();
        let file = WeightFile::open(&to).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["b", "blocks.0.w"]);
        let read = file.read("blocks.0.w").unwrap();
        read.assert_eq(&TensorData::new(numbers, [2, 3]), true);
        assert_eq!(file.shape("b").unwrap(), [3]);
    }
}
