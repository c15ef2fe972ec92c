//! The text encoder of the transformers that take prompts: its sizes, its vocabulary and its export.

use std::fs;
use std::path::Path;

use nextscale_data::Dataset;
use nextscale_models::prompt::PromptRules;
use nextscale_models::{Size, TEXT, VOCAB};
use nextscale_text::{T5Config, T5Encoder, Vocab, train_unigram};
use nextscale_tokenizer::Scale;
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

    /// Reads the vocabulary in the run's folder. The first time it is copied from the run that is continued, or learned
    /// from the captions that `captions` gives each training image.
    pub(crate) fn open_vocab(
        &self,
        continues: Option<&Path>,
        seed: u64,
        set: &Dataset,
        context: &mut StartContext<'_>,
        mut captions: impl FnMut(usize, &mut ChaCha8Rng) -> Vec<String>,
    ) -> Result<Vocab> {
        let path = context.out.join(VOCABULARY);
        if path.is_file() {
            // A resumed run keeps its own.
        } else if let Some(from) = continues {
            let from = from.join(VOCABULARY);
            fs::copy(&from, &path).map_err(TrainError::io("copy", &from))?;
        } else {
            (context.observe)(TrainEvent::LearningVocabulary);
            let ids = set.train_ids().into_iter();
            let texts = ids
                .flat_map(|index| captions(index, &mut rng_for(seed ^ 0x776f_7264, index as u64)));
            train_unigram(texts, self.vocabulary)?.save(&path)?;
        }
        Ok(Vocab::from_file(&path)?.with_max_len(self.max_len))
    }
}

/// The default share of prompts that are replaced by the unconditional one.
pub(crate) fn default_drop() -> f64 {
    0.1
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

/// The size of an exported model whose last scale is `last` and whose tokenizer has this stride.
pub(crate) fn exported_size(last: Scale, stride: usize, scales: &[(usize, usize)]) -> Size {
    Size {
        width: last.w * stride,
        height: last.h * stride,
        scales: scales.iter().map(|&(h, w)| [h, w]).collect(),
        reference: None,
        known: None,
    }
}
