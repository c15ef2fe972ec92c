//! Numbers in memory that a card copies without help.

use burn::backend::{Backend, Dispatch};
use burn::module::{ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use nextscale_tokenizer::cpu::is_cuda;
use nextscale_tokenizer::graphs;

/// Puts parameters that lie on the CPU into page-locked memory, from which this card copies them. What is allocated for it
/// belongs to the calling thread.
pub(crate) struct Pinned(pub Device);

impl ModuleMapper for Pinned {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !is_cuda(&self.0) {
            return param;
        }
        param.map(|tensor| {
            let here = tensor.device();
            let dtype = tensor.dtype();
            let mut data = tensor.into_data();
            let _card = graphs::shared();
            Dispatch::staging(std::iter::once(&mut data), self.0.as_dispatch());
            Tensor::from_data(data, (&here, dtype))
        })
    }
}
