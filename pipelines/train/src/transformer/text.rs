//! What the transformers that take prompts share: the text encoder's sizes, the vocabulary, captioned batches and the
//! log of their loss.

use std::fs;
use std::path::Path;

use burn::tensor::Tensor;
use nextscale_bitwise::train::BitLoss;
use nextscale_data::Dataset;
use nextscale_models::prompt::PromptRules;
use nextscale_models::{TEXT, VOCAB};
use nextscale_text::{T5Config, T5Encoder, TokenBatch, Vocab, train_unigram};
use nextscale_var_core::train::Loss;
use nextscale_weights::WeightDtype;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError, ensure};
use crate::run::{StartContext, TrainEvent};
use crate::run_folder::VOCABULARY;
use crate::shuffle::rng_for;

/// Sizes of a text encoder that is trained from scratch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextSizes {
    /// Maximum entries of the vocabulary, which is learned from the captions.
    pub vocabulary: usize,
    /// Maximum tokens of a prompt, the end-of-sequence token included.
    pub max_len: usize,
    /// Feature width; a multiple of 128.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden units of the feed-forward.
    pub hidden: usize,
    /// Standard deviation of the initial embeddings.
    #[serde(default = "default_embedding_std")]
    pub embedding_std: f64,
}

fn default_embedding_std() -> f64 {
    0.05
}

impl TextSizes {
    /// The text encoder with a vocabulary of `size` entries.
    pub(crate) fn config(&self, size: usize) -> T5Config {
        T5Config::new(size, self.width, self.depth, self.heads, self.hidden)
    }

    /// Rejects sizes that contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        let (width, heads) = (self.width, self.heads);
        ensure!(
            width > 0 && width.is_multiple_of(128),
            "text.width: {width} is not a multiple of 128"
        );
        ensure!(
            heads > 0 && width.is_multiple_of(heads),
            "text.heads: {heads} heads don't divide the width {width}"
        );
        Ok(())
    }
}

/// The default share of prompts that are replaced by the unconditional one.
pub(crate) fn default_drop() -> f64 {
    0.1
}

/// The vocabulary of a run: that of the run which it continues, or learned the first time.
pub(crate) struct VocabularySource<'a> {
    /// Folder of the run to continue.
    pub continues: Option<&'a Path>,
    pub text: &'a TextSizes,
    /// Seed of the captions.
    pub seed: u64,
}

impl VocabularySource<'_> {
    /// Reads the vocabulary in the run's folder. The first time it is copied, or learned from the captions that `captions`
    /// gives each training image.
    pub(crate) fn open(
        &self,
        set: &Dataset,
        context: &mut StartContext<'_>,
        mut captions: impl FnMut(usize, &mut ChaCha8Rng) -> Vec<String>,
    ) -> Result<Vocab> {
        let path = context.out.join(VOCABULARY);
        if path.is_file() {
            // A resumed run keeps its own.
        } else if let Some(from) = self.continues {
            let from = from.join(VOCABULARY);
            fs::copy(&from, &path).map_err(TrainError::io("copy", &from))?;
        } else {
            (context.observe)(TrainEvent::LearningVocabulary);
            let ids = set.train_ids().into_iter();
            let texts = ids.flat_map(|index| {
                captions(index, &mut rng_for(self.seed ^ 0x776f_7264, index as u64))
            });
            train_unigram(texts, self.text.vocabulary)?.save(&path)?;
        }
        Ok(Vocab::from_file(&path)?.with_max_len(self.text.max_len))
    }
}

/// Token ids of texts. Every text has tokens: unknown letters become the unknown token.
pub(crate) fn tokens(vocab: &Vocab, texts: &[String]) -> TokenBatch {
    vocab
        .batch(texts)
        .expect("captions are plain text and never an empty list")
}

/// Images or clips with prompts.
#[derive(Clone)]
pub(crate) struct Captioned {
    /// Planes in [-1, 1].
    pub pixels: Vec<f32>,
    pub prompts: TokenBatch,
    /// Which prompts are replaced by the unconditional one.
    pub drop: Vec<bool>,
}

impl Captioned {
    /// Held-out examples: no prompt is dropped.
    pub(crate) fn held_out(pixels: Vec<f32>, prompts: TokenBatch) -> Self {
        let drop = vec![false; prompts.rows];
        Self {
            pixels,
            prompts,
            drop,
        }
    }
}

/// A batch, and the random numbers of its self-correction.
pub(crate) struct CaptionedBatch {
    pub examples: Captioned,
    pub rng: ChaCha8Rng,
}

/// The loss of `examples` examples, and the share of right bits for the log.
pub(crate) fn training_loss(bits: BitLoss, examples: usize) -> Loss {
    Loss {
        total: bits.loss,
        parts: vec![("right", bits.right.mean())],
        examples,
    }
}

/// Loss and share of right bits of held-out examples, for the log.
pub(crate) fn held_out_measurements(bits: BitLoss) -> Vec<(&'static str, f64)> {
    let number = |tensor: Tensor<1>| f64::from(tensor.into_scalar::<f32>());
    vec![
        ("held_out_loss", number(bits.loss)),
        ("held_out_right", number(bits.right.mean())),
    ]
}

/// Writes the vocabulary and the text encoder into the model folder `out`.
pub(crate) fn save_text(out: &Path, vocab: &Vocab, encoder: &T5Encoder) -> Result<()> {
    fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
    vocab.save(out.join(VOCAB))?;
    Ok(nextscale_text::import::save(
        encoder,
        out.join(TEXT),
        WeightDtype::F16,
    )?)
}

/// The rules for prompts of exported models: as the captions that they were trained on.
pub(crate) fn prompt_rules() -> PromptRules {
    PromptRules {
        lowercase: true,
        ..PromptRules::default()
    }
}
