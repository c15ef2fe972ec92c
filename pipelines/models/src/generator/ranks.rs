//! Whether processes can generate a sample of a model together.

use burn::tensor::Device;
use nextscale_tokenizer::cpu::is_cpu;
use nextscale_var_core::sample_ranks::SampleRanks;

use crate::error::ModelError;

/// What processes are to generate together.
pub(super) struct Subject<'a> {
    /// The name of the model.
    pub model: &'a str,
    /// Heads of its keys and values.
    pub heads: usize,
    /// The device of its transformer.
    pub device: &'a Device,
    /// Whether all tokens are computed, of a sample that is no edit.
    pub is_whole: bool,
}

impl Subject<'_> {
    /// Refuses processes that cannot share it.
    pub(super) fn check(&self, ranks: &SampleRanks) -> Result<(), ModelError> {
        let (heads, shares) = (self.heads, ranks.of_a_half());
        if shares == 1 {
            return Ok(());
        }
        if !heads.is_multiple_of(shares) {
            return Err(ModelError::refused(format!(
                "{shares} processes cannot share the {heads} heads of `{}` evenly",
                self.model
            )));
        }
        let message = if !is_cpu(self.device) {
            "more than two processes generate an image or a video together on the CPU only, and without guidance no more than one"
        } else if !self.is_whole {
            "more than two processes generate an image or a video together only without shortcuts, and none that is edited by instruction"
        } else {
            return Ok(());
        };
        Err(ModelError::refused(message.to_owned()))
    }
}
