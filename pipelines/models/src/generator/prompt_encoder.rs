use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use nextscale_text::{KnownWords, Neighbours, Replaced, TextEncoder, Understood};

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
    /// Whether the text encoder did not get these words.
    pub left_out: bool,
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
    /// neighbour, if it has one: see [`nextscale_text::Neighbours::understand`]. A model of images does not get the other unknown words where
    /// a name says what is meant: they would draw it away from that.
    ///
    /// # Errors
    /// A prompt that the vocabulary cannot split, or that states another length of the video.
    pub fn encode(&self, prompt: &str, frames: usize) -> Result<EncodedPrompt, ModelError> {
        let understood = match &self.words {
            Some(words) => self.neighbours.understand(words, prompt),
            None => Understood {
                prompt: prompt.to_owned(),
                replaced: None,
                named: false,
            },
        };
        let Understood {
            prompt, replaced, ..
        } = understood;
        let unknown = match &self.words {
            Some(words) => words.unknown_words(&prompt),
            None => self.encoder.vocab.unknown_words(&prompt),
        };
        let unknown: Vec<String> = unknown.into_iter().map(str::to_owned).collect();
        let known = match &self.words {
            Some(words) if understood.named && self.draws_what_is_named() => {
                words.without_unknown(&prompt)
            }
            _ => None,
        };
        let left_out = known.is_some() && !unknown.is_empty();
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
            left_out,
            replaced,
        })
    }

    /// Whether a prompt of this model is about one thing: those of videos have motions, and instructions have verbs.
    fn draws_what_is_named(&self) -> bool {
        match self.model.manifest() {
            Manifest::Infinity(manifest) => !manifest.edits_by_instruction,
            Manifest::Var(_) | Manifest::InfinityStar(_) => false,
        }
    }
}
