//! How numbers are stored while a model runs.

use burn::tensor::{DType, FloatDType};
use nextscale_var_core::blocks::{self, BlockStorage};

use super::estimate::Pools;
use crate::device::{Placement, is_cpu};

/// How numbers are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Formats {
    /// Type of the weights.
    pub dtype: FloatDType,
    /// Bytes of a number in matrix products and the cache.
    pub working: u64,
    pub blocks: BlockStorage,
    /// Whether decoders multiply in f16.
    pub decodes_in_f16: bool,
    /// Who gets memory that one part has let go of.
    pub pools: Pools,
}

impl Formats {
    pub fn of(placement: &Placement) -> Self {
        Self {
            dtype: placement.dtype,
            working: placement.working_bytes(),
            blocks: placement.blocks,
            decodes_in_f16: placement.decodes_in_f16(),
            pools: if is_cpu(&placement.device) {
                Pools::Shared
            } else {
                Pools::Apart
            },
        }
    }

    /// Whether the kernels of our own for cards run: in 16 bits. A CPU calculates in f32.
    pub fn own_kernels(self) -> bool {
        self.working == 2
    }

    /// Bytes of a transformer's weights, of which the blocks have `inside` parameters, `block` each, and the rest `outside`.
    pub fn transformer_bytes(self, inside: usize, block: usize, outside: usize) -> u64 {
        let size = DType::from(self.dtype).size();
        blocks::bytes(self.blocks, inside, block, outside, size) as u64
    }
}
