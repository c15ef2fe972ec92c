//! What is multiplied.

use burn::tensor::bf16;

/// A factor of a product `[m, n]` over `k`, and its memory layout.
#[derive(Debug, Clone, Copy)]
pub enum Factor<'a> {
    /// The summed axis is the inner one: `[m, k]` or `[n, k]`.
    Rows(&'a [f32]),
    /// The summed axis is the outer one: `[k, m]` or `[k, n]`.
    Columns(&'a [f32]),
    /// As `Columns`, in bf16.
    Bf16(&'a [bf16]),
    /// As `Columns`, in int8.
    Int8(&'a [i8]),
}

impl Factor<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Rows(x) | Self::Columns(x) => x.len(),
            Self::Bf16(x) => x.len(),
            Self::Int8(x) => x.len(),
        }
    }
}
