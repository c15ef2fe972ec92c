//! Semantic and detail codes: one latent with few bits per cell on coarse scales and many on fine ones.
//!
//! Both are signs (binary spherical quantisation). A detail code has one bit per channel of the latent. A semantic code
//! has fewer bits: its channels are resampled like a further axis of the image, area down and linear up
//! (`interpolate` of `infinity/schedules/infinity_elegant.py`).

use burn::tensor::{DType, Tensor};
use nextscale_bitwise::Bsq;
use nextscale_tokenizer::{Codes, Quantizer, Resize, resize::matrix};
use serde::{Deserialize, Serialize};

/// The kind of code of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    /// Few bits per cell: coarse scales.
    Semantic,
    /// One bit per channel of the latent: fine scales.
    Detail,
}

/// The quantiser of one kind of code.
///
/// It quantises to its own kind and embeds both kinds, which differ in the number of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfinityStarQuantizer {
    /// Channels of the latent.
    pub channels: usize,
    /// Bits per cell.
    pub bits: usize,
}

/// The bits of both kinds of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeBits {
    /// Bits per cell of a semantic code.
    pub semantic: usize,
    /// Bits per cell of a detail code, one per channel of the latent.
    pub detail: usize,
}

impl CodeBits {
    /// The released models: 16 and 64 bits.
    pub const INFINITYSTAR: Self = Self {
        semantic: 16,
        detail: 64,
    };

    /// Bits per cell.
    pub const fn of(&self, kind: CodeKind) -> usize {
        match kind {
            CodeKind::Semantic => self.semantic,
            CodeKind::Detail => self.detail,
        }
    }

    /// The quantiser of `kind`.
    pub const fn quantizer(&self, kind: CodeKind) -> InfinityStarQuantizer {
        InfinityStarQuantizer {
            channels: self.detail,
            bits: self.of(kind),
        }
    }
}

impl InfinityStarQuantizer {
    /// The values whose signs are the bits: `x`, `[b, c, t, h, w]`, with its channels resized to the number of bits.
    pub fn cells(&self, x: Tensor<5>) -> Tensor<5> {
        resize_channels(x, self.bits, Resize::Area)
    }
}

impl Quantizer for InfinityStarQuantizer {
    fn dim(&self) -> usize {
        self.channels
    }

    /// Bit 1 where a component is positive; exactly 0 gives 0.
    fn quantize(&self, x: Tensor<5>) -> Codes {
        Bsq::new(self.bits).quantize(self.cells(x))
    }

    /// `+-1/sqrt(bits)`, with the channels resized to those of the latent.
    ///
    /// # Panics
    /// If the codes are not bits.
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
