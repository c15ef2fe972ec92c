//! Tensors written to a file in a number type.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::{ModelError, about};
use nextscale_files::atomic_file;
use nextscale_weights::{Format, StreamError, WeightDtype, WeightFile};

/// Number type of a converted file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvertedDtype {
    /// As it was; 8 bits become f32 in a single file, and where an adapter is added.
    Unchanged,
    /// A floating-point type for all.
    Float(WeightDtype),
    /// 8 bits for the large matrices of a transformer's blocks, the same numbers as when such a file is loaded as int8, and for the matrices
    /// and kernels of tokenizers and text encoders, which are loaded as floating-point numbers; all others as they were. In a model folder
    /// also for the other matrices of the transformer.
    Int8,
}

/// A tensor in VAR's files that holds infinite numbers and is no weight.
pub(super) const VAR_MASK: &str = "attn_bias_for_masking";

/// What is written of a file.
pub(super) struct Selection<'a> {
    /// The tensors.
    pub names: &'a [String],
    /// Those of them that the model does not need.
    pub loose: &'a [String],
    /// Whether a tensor is rounded to 8 bits, if it is a matrix or a kernel.
    pub is_large: fn(&str) -> bool,
}

/// Writes tensors of a file to another. It has its name only once it is complete.
pub(super) fn write(
    file: &WeightFile,
    selection: &Selection<'_>,
    dtype: ConvertedDtype,
    out: &Path,
    go_on: impl FnMut(u64, u64) -> bool,
) -> Result<(), ModelError> {
    let format = match dtype {
        ConvertedDtype::Unchanged => Format::Unchanged,
        ConvertedDtype::Float(dtype) => Format::Float(dtype),
        ConvertedDtype::Int8 => Format::Int8(selection.is_large),
    };
    let fail = |e: std::io::Error| ModelError::io("write", out)(e);
    let hidden = atomic_file::hidden_for(out).map_err(fail)?;
    // The file itself: errors of the hidden one would tell its name.
    let mut to = BufWriter::with_capacity(1 << 20, hidden.as_file());
    let streamed = file.stream(selection.names, selection.loose, format, &mut to, go_on);
    streamed.map_err(|error| match error {
        StreamError::Weights(error) => unusable(file.path(), error),
        StreamError::Io(error) => fail(error),
        StreamError::Stopped => ModelError::Cancelled,
    })?;
    to.flush().map_err(fail)?;
    drop(to);
    hidden.as_file().sync_all().map_err(fail)?;
    atomic_file::persist(hidden, out).map_err(fail)
}

pub(super) fn unusable(path: &Path, error: impl ToString) -> ModelError {
    let reason = about(&path.display().to_string(), error);
    ModelError::Content {
        path: path.to_owned(),
        message: format!("cannot be converted: {reason}"),
        hint: None,
    }
}

/// Whether a tensor is a weight of a layer, and no codebook.
pub(super) fn in_layers(name: &str) -> bool {
    name.ends_with(".weight") && !name.starts_with("quantize.")
}

/// Whether a tensor of a transformer is a large matrix of a block.
pub(super) fn in_blocks(name: &str) -> bool {
    let parts = [".sa.", ".ca.", ".attn.", ".ffn.", ".mlp."];
    name.contains("block") && name.ends_with(".weight") && parts.iter().any(|p| name.contains(p))
}
