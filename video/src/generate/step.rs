use burn::tensor::Tensor;
use nextscale_tokenizer::Codes;

use crate::clips::Pass;

/// A finished pass.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its index, from 0.
    pub k: usize,
    /// The pass.
    pub pass: Pass,
    /// Its input: the running sum on the grid of the pass, `[b, c, t, h, w]`.
    pub input: Tensor<5>,
    /// The heads' logits before temperature and guidance, `[2b or b, l, 2 d]`, conditional ones first or alone; `None` where forced
    /// bits made them unnecessary.
    pub raw: Option<Tensor<3>>,
    /// Logits after temperature and guidance, `[b, l, 2 d]`.
    pub logits: Option<Tensor<3>>,
    /// The sampled or forced bits.
    pub codes: Codes,
    /// The running sum of the clip including this pass, at full size, `[b, c, t, h, w]`. Decode it for a preview.
    pub features: Tensor<5>,
    /// Passes over the same scale that come after it and are left out, because it has converged.
    pub left_out: usize,
    /// Whether the clip is finished; then `features` are its latent frames.
    pub ends_clip: bool,
    /// Tokens whose keys and values are kept for later passes.
    pub kept_tokens: usize,
}
