//! Prompts to features: tokenizer and encoder together.

use std::path::Path;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::error::TextError;
use crate::import;
use crate::t5::{T5Config, T5Encoder};
use crate::vocab::{TokenBatch, Vocab};

/// Features of a batch of prompts, padded on the right.
#[derive(Debug, Clone)]
pub struct TextFeatures {
    /// [b, l, c]; rows beyond a prompt's length are zero.
    pub features: Tensor<3>,
    /// Tokens of each prompt, `</s>` included.
    pub lens: Vec<usize>,
    /// Tokens of each whole prompt; larger than in `lens` if it was truncated.
    pub untruncated: Vec<usize>,
}

impl TextFeatures {
    /// Indices of the prompts that were truncated.
    pub fn truncated(&self) -> impl Iterator<Item = usize> + '_ {
        let pairs = self.lens.iter().zip(&self.untruncated);
        pairs
            .enumerate()
            .filter(|(_, (len, whole))| len < whole)
            .map(|(at, _)| at)
    }
}

/// A tokenizer and the encoder that was trained with it.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    /// The tokenizer.
    pub vocab: Vocab,
    /// The encoder; features are computed on its device.
    pub t5: T5Encoder,
}

impl TextEncoder {
    /// Joins a tokenizer and an encoder.
    ///
    /// # Errors
    /// [`TextError::VocabTooLarge`] if the tokenizer has ids beyond the embedding table.
    pub fn new(vocab: Vocab, t5: T5Encoder) -> Result<Self, TextError> {
        let (size, table) = (vocab.size(), t5.vocab_size());
        if size > table {
            return Err(TextError::VocabTooLarge { vocab: size, table });
        }
        Ok(Self { vocab, t5 })
    }

    /// Loads a folder in Hugging Face's layout: `tokenizer.json`, `config.json`, and the weights as
    /// `model.safetensors`, its sharded form `model.safetensors.index.json`, or `pytorch_model.bin`.
    /// Weights are loaded as f32.
    ///
    /// # Errors
    /// Missing or damaged files, and weights that do not fit.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<Self, TextError> {
        let dir = dir.as_ref();
        let config = T5Config::from_hf_file(dir.join("config.json"))?;
        let vocab = Vocab::from_file(dir.join("tokenizer.json"))?;
        let candidates = import::WEIGHT_FILES.map(|name| dir.join(name));
        let weights = candidates
            .iter()
            .find(|path| path.is_file())
            .unwrap_or(&candidates[0]);
        let mut t5 = config.init(device);
        import::load(&mut t5, weights)?;
        Self::new(vocab, t5)
    }

    /// Features of prompts, on the encoder's device.
    ///
    /// An empty prompt is encoded as `</s>` alone, as in the released models. A prompt that is too long is truncated, see
    /// [`TextFeatures::truncated`].
    ///
    /// # Errors
    /// [`TextError::NoPrompt`] for an empty list, [`TextError::Prompt`] from the tokenizer.
    pub fn encode<S: AsRef<str>>(&self, prompts: &[S]) -> Result<TextFeatures, TextError> {
        Ok(self.encode_tokens(&self.vocab.batch(prompts)?))
    }

    /// Features of tokenized prompts.
    pub fn encode_tokens(&self, batch: &TokenBatch) -> TextFeatures {
        encode_tokens(&self.t5, batch)
    }
}

/// Features of tokenized prompts, without a [`TextEncoder`]: for training loops that own the encoder as a part of a larger
/// module.
pub fn encode_tokens(t5: &T5Encoder, batch: &TokenBatch) -> TextFeatures {
    let device = t5.weights_device();
    let (b, l) = (batch.rows, batch.width);
    let ids: Vec<i32> = batch.ids.iter().map(|&id| id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [b, l]), &device);
    let valid: Vec<bool> = batch
        .lens
        .iter()
        .flat_map(|&len| (0..l).map(move |at| at < len))
        .collect();
    let valid = Tensor::<2, Bool>::from_data(TensorData::new(valid, [b, l]), &device);
    let features = t5.forward(ids, valid.clone());
    let c = features.dims()[2];
    let padding = valid.bool_not().reshape([b, l, 1]).expand([b, l, c]);
    TextFeatures {
        features: features.mask_fill(padding, 0.0),
        lens: batch.lens.clone(),
        untruncated: batch.untruncated.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unigram::train_unigram;

    #[test]
    fn a_batch_equals_its_prompts_one_by_one() {
        let vocab = train_unigram(["a red house", "blue tree and a cat"], 40).unwrap();
        let device = Device::flex();
        let t5 = T5Config::new(vocab.size(), 16, 2, 2, 32).init(&device);
        let text = TextEncoder::new(vocab, t5).unwrap();
        let both = text.encode(&["a red house", ""]).unwrap();
        assert_eq!(both.lens[1], 1);
        assert_eq!(both.truncated().count(), 0);
        let alone = text.encode(&[""]).unwrap();
        let gap = both.features.clone().slice([1..2, 0..1, 0..16]) - alone.features;
        assert!(gap.abs().max().into_scalar::<f32>() < 1e-5);
        let pad = both.features.slice([1..2, 1..both.lens[0], 0..16]);
        assert_eq!(pad.abs().max().into_scalar::<f32>(), 0.0);
        assert!(matches!(text.encode::<&str>(&[]), Err(TextError::NoPrompt)));
    }

    #[test]
    fn refuses_a_vocabulary_beyond_the_table() {
        let vocab = train_unigram(["a red house"], 40).unwrap();
        let t5 = T5Config::new(vocab.size() - 1, 16, 1, 2, 32).init(&Device::flex());
        assert!(matches!(
            TextEncoder::new(vocab, t5),
            Err(TextError::VocabTooLarge { .. })
        ));
    }
}
