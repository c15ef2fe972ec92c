//! The norms of the blocks as the kernels of a card take them.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use nextscale_var_core::card::Affine;

use super::block::Block;

/// The norms of all blocks, the same for every pass.
#[derive(Debug)]
pub(super) struct Norms {
    pub before_attention: Vec<Affine>,
    pub before_mlp: Vec<Affine>,
    /// A gain of 1, `[1, C]`.
    pub one: Tensor<2>,
}

impl Norms {
    /// Those of blocks of `c` channels.
    pub fn new(blocks: &[Block], c: usize) -> Arc<Self> {
        let device = blocks[0].input_norm.weight.device();
        let all = |of: fn(&Block) -> Affine| blocks.iter().map(of).collect();
        Arc::new(Self {
            before_attention: all(|block| Affine::rms(&block.input_norm.weight)),
            before_mlp: all(|block| Affine::rms(&block.post_norm.weight)),
            one: Tensor::ones([1, c], (&device, DType::F32)),
        })
    }
}
