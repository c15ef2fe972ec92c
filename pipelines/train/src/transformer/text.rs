//! The text encoder of the transformers that take prompts: its sizes, its vocabulary and its export.

use std::fs;
use std::path::Path;

use nextscale_data::Dataset;
use nextscale_models::prompt::PromptRules;
use nextscale_models::{self as models, Size, TEXT, VOCAB};
use nextscale_text::{KnownWords, T5Config, T5Encoder, Vocab, train_unigram};
use nextscale_tokenizer::Scale;
use nextscale_weights::WeightDtype;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError, ensure};
use crate::run::{StartContext, TrainEvent};
use crate::run_folder::{self, VOCABULARY, WORDS};
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
        captions: impl Fn(usize, &mut ChaCha8Rng) -> Vec<String>,
    ) -> Result<Vocab> {
        let texts = || {
            let ids = set.train_ids().into_iter();
            ids.flat_map(|index| captions(index, &mut rng_for(seed ^ 0x776f_7264, index as u64)))
        };
        let path = context.out.join(VOCABULARY);
        if path.is_file() {
            // A resumed run keeps its own.
        } else if let Some(from) = continues {
            let from = from.join(VOCABULARY);
            run_folder::copy(&from, &path)?;
        } else {
            (context.observe)(TrainEvent::LearningVocabulary);
            let vocab = train_unigram(texts(), self.vocabulary)?;
            run_folder::write(&path, vocab.to_json()?.as_bytes())?;
        }
        store_words(context.out, continues, set, texts())?;
        Ok(Vocab::from_file(&path)?.with_max_len(self.max_len))
    }
}

/// The default share of prompts that are replaced by the unconditional one.
pub(crate) fn default_drop() -> f64 {
    0.1
}

/// Stores the words of the captions in the run `out`, the first time: those of the run that is continued, of `captions`, and
/// of the names and styles of all training images.
fn store_words(
    out: &Path,
    continues: Option<&Path>,
    set: &Dataset,
    captions: impl Iterator<Item = String>,
) -> Result<()> {
    let path = out.join(WORDS);
    if path.is_file() {
        return Ok(());
    }
    let mut words = KnownWords::default();
    if let Some(from) = continues.map(|from| from.join(WORDS)) {
        if !from.is_file() {
            return Ok(());
        }
        words.add(&fs::read_to_string(&from).map_err(TrainError::io("read", &from))?);
    }
    captions.for_each(|caption| words.add(&caption));
    for index in set.train_ids() {
        let entry = set.entry(index);
        words.add(&entry.name);
        words.add(&entry.style);
        entry.synonyms.iter().for_each(|name| words.add(name));
    }
    run_folder::write(&path, words.to_string().as_bytes())
}

/// Writes the vocabulary of the run `from`, the words of its captions and the text encoder into the model folder `out`.
pub(crate) fn save_text(from: &Path, out: &Path, vocab: &Vocab, encoder: &T5Encoder) -> Result<()> {
    fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
    vocab.save(out.join(VOCAB))?;
    let words = from.join(WORDS);
    if words.is_file() {
        run_folder::copy(&words, &out.join(models::WORDS))?;
    }
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
