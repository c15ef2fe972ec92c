//! The quantiser trait: latent cells to codes, and codes to the vectors that they stand for.

use burn::tensor::{Int, Tensor};

use crate::schedule::Scale;

/// The codes of one scale, for a batch of images.
#[derive(Debug, Clone)]
pub enum Codes {
    /// Indices into a codebook, `[b, t, h, w]`.
    Indices(Tensor<4, Int>),
    /// Bits, 0 or 1, `[b, d, t, h, w]`.
    Bits(Tensor<5, Int>),
}

impl Codes {
    /// The grid of the codes.
    pub fn scale(&self) -> Scale {
        let [t, h, w] = match self {
            Self::Indices(x) => {
                let [_, t, h, w] = x.dims();
                [t, h, w]
            }
            Self::Bits(x) => {
                let [_, _, t, h, w] = x.dims();
                [t, h, w]
            }
        };
        Scale { t, h, w }
    }

    /// The bits; none if these are indices.
    pub fn bits(self) -> Option<Tensor<5, Int>> {
        match self {
            Self::Bits(bits) => Some(bits),
            Self::Indices(_) => None,
        }
    }

    /// The indices; none if these are bits.
    pub fn indices(self) -> Option<Tensor<4, Int>> {
        match self {
            Self::Indices(indices) => Some(indices),
            Self::Bits(_) => None,
        }
    }
}

/// Turns latent cells into codes and codes into vectors.
pub trait Quantizer {
    /// Channels of the latent.
    fn dim(&self) -> usize;

    /// The code of each cell of `x`, `[b, c, t, h, w]`. Not differentiable.
    fn quantize(&self, x: Tensor<5>) -> Codes;

    /// The vectors that the codes stand for, `[b, c, t, h, w]`.
    fn embed(&self, codes: &Codes) -> Tensor<5>;

    /// Means of the vectors with `weights` `[b, l, V]`, whose rows sum to 1, on the grid `scale`: `[b, c, t, h, w]`. None
    /// for a quantiser without a codebook.
    fn blend(&self, _weights: Tensor<3>, _scale: Scale) -> Option<Tensor<5>> {
        None
    }
}
