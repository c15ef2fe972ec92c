//! From the tokenizer's grids of cells to the transformer's rows of tokens, and back.

use burn::tensor::{Int, Tensor, kind::Basic};
use nextscale_tokenizer::{
    Quantizer, Scale, ScaleSchedule, patchify, pyramid::Encoded, pyramid::Pyramid, pyramid::Refine,
    unpatchify,
};

/// How cells of the tokenizer map to tokens of the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Patching {
    /// One token per cell, D = d (Infinity 2B).
    Single,
    /// One token per 2 x 2 cells, D = 4 d: the sides of the tokenizer's grids are twice the transformer's
    /// (Infinity 8B).
    Double,
}

impl Patching {
    /// The tokenizer's schedule for a `schedule` of the transformer.
    pub fn cells(self, schedule: &ScaleSchedule) -> ScaleSchedule {
        match self {
            Self::Single => schedule.clone(),
            Self::Double => schedule.doubled(),
        }
    }

    /// Bits per token, D, for a tokenizer with `d` bits per cell.
    pub fn code_dim(self, d: usize) -> usize {
        match self {
            Self::Single => d,
            Self::Double => 4 * d,
        }
    }

    /// Cells `[b, d, t, h, w]` to tokens `[b, l, D]` in row-major order.
    pub fn to_tokens<K: Basic>(self, cells: Tensor<5, K>) -> Tensor<3, K> {
        let cells = match self {
            Self::Single => cells,
            Self::Double => patchify(cells),
        };
        let [b, d, t, h, w] = cells.dims();
        cells.reshape([b, d, t * h * w]).swap_dims(1, 2) // [b, l, D]
    }

    /// The inverse of [`Patching::to_tokens`]; `scale` is the transformer's.
    pub fn to_cells<K: Basic>(self, tokens: Tensor<3, K>, scale: Scale) -> Tensor<5, K> {
        let [b, _, d] = tokens.dims();
        let cells = tokens
            .swap_dims(1, 2)
            .reshape([b, d, scale.t, scale.h, scale.w]);
        match self {
            Self::Single => cells,
            Self::Double => unpatchify(cells),
        }
    }
}

/// Inputs and labels of a batch of images under teacher forcing.
#[derive(Debug, Clone)]
pub struct TeacherForcing {
    /// Inputs of the transformer for all scales but the first, `[b, l - 1, D]`.
    pub inputs: Tensor<3>,
    /// The bits to predict, `[b, l, D]`.
    pub bits: Tensor<3, Int>,
    /// The images that are edited, `[b, h w, D]`; none if images are generated.
    pub source: Option<Tensor<3>>,
}

impl TeacherForcing {
    /// From encoded images: inputs from the codes that entered the running sum, labels from the quantised residuals.
    ///
    /// `schedule` is the tokenizer's.
    ///
    /// # Panics
    /// If the codes are not bits, or there is only one scale.
    pub fn new<Q: Quantizer + ?Sized, R: Refine + ?Sized>(
        pyramid: &Pyramid<'_, Q, R>,
        encoded: &Encoded,
        schedule: &ScaleSchedule,
        patching: Patching,
    ) -> Self {
        let inputs = pyramid.inputs(&encoded.used, schedule).into_iter();
        let inputs = inputs.map(|cells| patching.to_tokens(cells)).collect();
        let bits = encoded.codes.iter().map(|codes| {
            let bits = codes.clone().bits().expect("codes of a bitwise tokenizer");
            patching.to_tokens(bits)
        });
        Self {
            inputs: Tensor::cat(inputs, 1),
            bits: Tensor::cat(bits.collect(), 1),
            source: None,
        }
    }

    /// The same as edits of images with this `latent`, `[b, d, t, h, w]` before quantisation (VAREdit).
    #[must_use]
    pub fn of_source(self, latent: Tensor<5>, patching: Patching) -> Self {
        Self {
            source: Some(patching.to_tokens(latent)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn patches_and_back() {
        let cells = Tensor::<1, Int>::arange(0..2 * 3 * 16, &Device::flex());
        let cells = cells.reshape([2, 3, 1, 4, 4]);
        let tokens = Patching::Double.to_tokens(cells.clone());
        assert_eq!(tokens.dims(), [2, 4, 12]);
        let first: Vec<i64> = tokens
            .clone()
            .slice([0..1, 1..2, 0..4])
            .into_data()
            .iter()
            .collect();
        assert_eq!(first, [2, 3, 6, 7]); // second patch of the first row, first channel
        let back = Patching::Double.to_cells(tokens, Scale::image(2, 2));
        back.into_data().assert_eq(&cells.into_data(), true);
    }
}
