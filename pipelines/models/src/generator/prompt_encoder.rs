use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use nextscale_text::{KnownWords, Neighbours, Replaced, TextEncoder};

use crate::device;
use crate::error::ModelError;
use crate::manifest::Manifest;
use crate::model::Model;

/// Turns prompts into text features.
#[derive(Debug)]
pub struct PromptEncoder {
    model: Arc<Model>,
    encoder: TextEncoder,
    words: Option<KnownWords>,
    neighbours: Neighbours,
}

/// The features of one prompt.
#[derive(Debug, Clone)]
pub struct EncodedPrompt {
    /// `[1, l, c]`.
    pub features: Tensor<3>,
    /// Tokens of the whole prompt; more than `l` if it was truncated.
    pub tokens: usize,
    /// Words of the prompt that the model does not know: those that no caption of its training had, or, where its captions
    /// are not known, those that its vocabulary cannot spell.
    pub unknown: Vec<String>,
    /// The word of the prompt that another stood for.
    pub replaced: Option<Replaced>,
}

impl PromptEncoder {
    /// Loads vocabulary and text encoder of a model, in f32.
    ///
    /// # Errors
    /// A model without a text encoder, and those of [`Model::load_text_encoder`].
    pub fn load(model: &Arc<Model>, device: &Device) -> Result<Self, ModelError> {
        Ok(Self {
            encoder: model.load_text_encoder(device)?,
            words: model.known_words()?,
            neighbours: model.neighbours()?,
            model: Arc::clone(model),
        })
    }

    /// Drops the encoder and gives the memory that it took on a card back: burn keeps what is freed for the next tensors of
    /// the same thread.
    pub fn unload(self) {
        let device = self.encoder.t5.weights_device();
        drop(self);
        device::release(&device);
    }

    /// The features of a prompt, for a video of `frames` frames (1 for an image). A word that the model does not know gives way to its
    /// neighbour, if it has one: see [`nextscale_text::Neighbours::replace`]. Where a name is left, the other unknown words are left out, as
    /// they would draw the model away from it.
    ///
    /// # Errors
    /// A prompt that the vocabulary cannot split, or that states another length of the video.
    pub fn encode(&self, prompt: &str, frames: usize) -> Result<EncodedPrompt, ModelError> {
        let (prompt, replaced) = match &self.words {
            Some(words) => self.neighbours.replace(words, prompt),
            None => (prompt.to_owned(), None),
        };
        let unknown = match &self.words {
            Some(words) => words.unknown_words(&prompt),
            None => self.encoder.vocab.unknown_words(&prompt),
        };
        let unknown: Vec<String> = unknown.into_iter().map(str::to_owned).collect();
        let known = match &self.words {
            Some(words) if self.neighbours.names_in(&prompt) => words.without_unknown(&prompt),
            _ => None,
        };
        let prompt = known.unwrap_or(prompt);
        let prompt = match self.model.manifest() {
            Manifest::Infinity(manifest) => manifest.prompt.apply(&prompt),
            Manifest::Var(_) => prompt,
            Manifest::InfinityStar(manifest) => manifest.prompt(&prompt, frames)?,
        };
        let features = self.encoder.encode(&[&prompt]);
        let features = features.map_err(|e| ModelError::refused(e.to_string()))?;
        Ok(EncodedPrompt {
            tokens: features.untruncated[0],
            features: features.features,
            unknown,
            replaced,
        })
    }
}
