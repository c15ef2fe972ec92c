//! Semantic and detail codes: one latent, written with few bits a cell on coarse scales and with many on fine ones.
//!
//! Both are signs (binary spherical quantisation). A detail code has a bit for every channel of the latent. A semantic
//! code has fewer: there the channels are resampled like one more axis of the picture, area down and linear up
//! (`interpolate` of `infinity/schedules/infinity_elegant.py`).

use burn::tensor::{DType, Tensor};
use nextscale_bitwise::Bsq;
use nextscale_tokenizer::{Codes, Quantizer, Resize, resize::matrix};
use serde::{Deserialize, Serialize};

/// Which of the two codes a scale has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    /// Few bits a cell: coarse scales.
    Semantic,
    /// A bit for every channel of the latent: fine scales.
    Detail,
}

/// The quantiser of one kind of code.
///
/// It quantises to its own kind and embeds either: codes tell their kind by the number of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfinityStarQuantizer {
    /// Channels of the latent.
    pub channels: usize,
    /// Bits of a cell.
    pub bits: usize,
}

/// How a latent of some width is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeBits {
    /// Bits of a semantic code.
    pub semantic: usize,
    /// Bits of a detail code, which is the number of channels of the latent.
    pub detail: usize,
}

impl CodeBits {
    /// The released models: 16 and 64 bits.
    pub const INFINITYSTAR: Self = Self {
        semantic: 16,
        detail: 64,
    };

    /// Bits of a cell.
    pub const fn of(&self, kind: CodeKind) -> usize {
        match kind {
            CodeKind::Semantic => self.semantic,
            CodeKind::Detail => self.detail,
        }
    }

    /// The quantiser of a kind.
    pub const fn quantizer(&self, kind: CodeKind) -> InfinityStarQuantizer {
        InfinityStarQuantizer {
            channels: self.detail,
            bits: self.of(kind),
        }
    }
}

impl InfinityStarQuantizer {
    /// What is turned into signs: `x`, `[b, c, t, h, w]`, with its channels brought down to the number of bits.
    pub fn cells(&self, x: Tensor<5>) -> Tensor<5> {
        resize_channels(x, self.bits, Resize::Area)
    }
}

impl Quantizer for InfinityStarQuantizer {
    fn dim(&self) -> usize {
        self.channels
    }

    /// Bit 1 where a cell's number is above 0; a number of exactly 0 gives 0.
    fn quantize(&self, x: Tensor<5>) -> Codes {
        Bsq::new(self.bits).quantize(self.cells(x))
    }

    /// `+-1/sqrt(bits)`, the channels brought up to those of the latent.
    ///
    /// # Panics
    /// If the codes are no bits.
    fn embed(&self, codes: &Codes) -> Tensor<5> {
        let Codes::Bits(bits) = codes else {
            panic!("binary spherical quantisation embeds bits, not codebook rows")
        };
        let vectors = Bsq::new(bits.dims()[1]).embed(codes);
        resize_channels(vectors, self.channels, Resize::Linear)
    }
}

/// `[b, c, t, h, w]` to `[b, to, t, h, w]`.
fn resize_channels(x: Tensor<5>, to: usize, mode: Resize) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    if c == to {
        return x;
    }
    let x = x.cast(DType::F32);
    let weights = matrix(c, to, mode, &x.device()).unsqueeze::<3>();
    weights
        .expand([b, to, c])
        .matmul(x.reshape([b, c, t * h * w]))
        .reshape([b, to, t, h, w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn channels_are_resampled() {
        let device = Device::flex();
        let bits = CodeBits {
            semantic: 2,
            detail: 4,
        };
        let x = Tensor::<1>::from_floats([1.0, 3.0, -5.0, 1.0], &device).reshape([1, 4, 1, 1, 1]);
        let semantic = bits.quantizer(CodeKind::Semantic);
        let cells: Vec<f32> = semantic.cells(x.clone()).into_data().iter().collect();
        assert_eq!(cells, [2.0, -2.0]);
        let codes = semantic.quantize(x.clone());
        let up: Vec<f32> = semantic.embed(&codes).into_data().iter().collect();
        let unit = 0.5f32.sqrt();
        for (ours, share) in up.iter().zip([1.0, 0.5, -0.5, -1.0]) {
            assert!((ours - unit * share).abs() < 1e-6, "{up:?}");
        }
        let detail = bits.quantizer(CodeKind::Detail);
        let up: Vec<f32> = detail
            .embed(&detail.quantize(x))
            .into_data()
            .iter()
            .collect();
        assert_eq!(up, [0.5, 0.5, -0.5, 0.5]);
        // Either quantiser embeds the codes of both.
        assert_eq!(detail.embed(&codes).dims(), [1, 4, 1, 1, 1]);
    }
}
