//! The configuration of an Infinity run.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_bitwise::infinity::{Infinity, InfinityConfig};
use nextscale_bitwise::tokens::Patching;
use nextscale_data::{Augment, captions};
use nextscale_models::sampling::Sampling;
use nextscale_text::{T5Config, T5Encoder, Vocab};
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{ScaleWeighting, TrainOptions};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::{Result, ensure};
use crate::run_folder::{self, VOCABULARY};
use crate::transformer::TransformerKind;
use crate::transformer::text::{TextSizes, default_drop};

/// Configuration of a text-to-image transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InfinityRun {
    /// [`TransformerKind::Infinity`].
    #[serde(default)]
    pub kind: TransformerKind,
    /// Folder of the data set, as `nextscale data build` wrote it.
    pub data: PathBuf,
    /// Folder of the tokenizer's run; not with `from`.
    #[serde(default)]
    pub tokenizer: Option<PathBuf>,
    /// Folder of a model whose tokenizer, vocabulary, text encoder and transformer are the start of this run.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// Whether it learns to edit an image by instruction (VAREdit) instead of to generate one from its caption.
    #[serde(default)]
    pub edits: bool,
    /// Folder of a run whose transformer is the start of this one; the text encoder starts from random weights.
    #[serde(default)]
    pub transformer_of: Option<PathBuf>,
    /// Folder of a run whose whole model, text encoder and vocabulary included, is the start of this one.
    #[serde(default)]
    pub continues: Option<PathBuf>,
    /// How images that answer a plain prompt are sampled.
    #[serde(default)]
    pub plain: Plain,
    /// Share of images that show two things next to each other, 0 to 1.
    #[serde(default)]
    pub scenes: f64,
    /// Share of images that show a thing two to four times, with the number in the caption, 0 to 1.
    #[serde(default)]
    pub counts: f64,
    /// Share of captions of a single thing with words around its name that say nothing about the image, 0 to 1.
    #[serde(default)]
    pub surroundings: f64,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch: usize,
    /// How images are augmented.
    #[serde(default)]
    pub augment: Augment,
    /// Height and width of every scale in tokens.
    pub scales: Vec<(usize, usize)>,
    /// Cells per token.
    pub patching: Patching,
    /// Sizes of the text encoder.
    pub text: TextSizes,
    /// Sizes of the transformer.
    pub model: ModelSizes,
    /// Weights of the tokens of each scale.
    #[serde(default)]
    pub weighting: ScaleWeighting,
    /// Errors that the transformer learns to correct.
    #[serde(default)]
    pub correction: SelfCorrection,
    /// Default sampling of the exported model.
    #[serde(default = "default_sampling")]
    pub sampling: Sampling,
    /// Name of the exported model.
    #[serde(default)]
    pub name: String,
    /// What the exported model generates, what it was trained on, and its licence.
    #[serde(default)]
    pub about: String,
    /// Number format of the matrix products in the blocks: `bf16` halves their time on CPUs that support it.
    #[serde(default)]
    pub precision: Precision,
    /// Share of prompts that are replaced by the unconditional one.
    #[serde(default = "default_drop")]
    pub condition_drop: f64,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

fn default_sampling() -> Sampling {
    Sampling {
        cfg: 3.0,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
    }
}

/// How often training shows the one image of a concept that answers its plain name, and how often under that name.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Plain {
    /// How many times an epoch shows such an image; every other image is shown once.
    pub repeat: usize,
    /// Chance that its caption omits the style, 0 to 1.
    pub captions: f64,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            repeat: 1,
            captions: captions::PLAIN,
        }
    }
}

/// Sizes of the transformer; the rest follows from the tokenizer and the text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelSizes {
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden units of the feed-forward, as a multiple of the width.
    #[serde(default = "default_mlp_ratio")]
    pub mlp_ratio: f64,
}

fn default_mlp_ratio() -> f64 {
    4.0
}

/// What is trained.
#[derive(Module, Debug)]
pub(crate) struct TextToImageModel {
    /// Prompt to features.
    pub text: T5Encoder,
    /// Features and earlier scales to bits.
    pub transformer: Infinity,
}

impl InfinityRun {
    /// The schedule in tokens.
    pub(super) fn schedule(&self) -> Result<ScaleSchedule> {
        config::schedule(&self.scales)
    }

    /// The transformer on a tokenizer of `bits` bits per cell.
    pub(super) fn model_config(&self, bits: usize) -> InfinityConfig {
        InfinityConfig {
            width: self.model.width,
            depth: self.model.depth,
            heads: self.model.heads,
            code_dim: self.patching.code_dim(bits),
            text_channels: self.text.width,
            text_max_len: self.text.max_len,
            mlp_ratio: self.model.mlp_ratio,
            block_chunks: 1,
            levels: 15,
        }
    }

    /// A model with random weights for a tokenizer of `bits` bits per cell and a vocabulary of `size` entries, on an
    /// autodiff device; or that of [`InfinityRun::transformer_of`], [`InfinityRun::continues`] or
    /// [`InfinityRun::from`].
    pub(super) fn model(
        &self,
        bits: usize,
        size: usize,
        device: &Device,
    ) -> Result<TextToImageModel> {
        if let Some(from) = &self.from {
            return self.model_of(from, bits, size, device);
        }
        let config = self.text.config(size);
        let text = config.init_with(self.text.embedding_std, device);
        if let Some(from) = &self.continues {
            let (trained, source) = self.trained("continues", from, bits, device)?;
            ensure!(
                source == config,
                "continues: the text encoder of `{}` has other sizes than this configuration",
                from.display()
            );
            return Ok(trained);
        }
        let transformer = match &self.transformer_of {
            Some(from) => {
                let (trained, _) = self.trained("transformer_of", from, bits, device)?;
                trained.transformer
            }
            None => self.model_config(bits).init(device),
        };
        Ok(TextToImageModel { text, transformer })
    }

    /// The averaged model of the run that the setting `key` names, and its text encoder's configuration.
    fn trained(
        &self,
        key: &str,
        from: &Path,
        bits: usize,
        device: &Device,
    ) -> Result<(TextToImageModel, T5Config)> {
        let (source, checkpoint): (Self, _) = run_folder::source(key, from)?;
        let sizes = |run: &Self| (run.model_config(bits), run.patching, run.scales.clone());
        ensure!(
            sizes(&source) == sizes(self),
            "{key}: the transformer of `{}` has other sizes or scales than this configuration",
            from.display()
        );
        let vocab = Vocab::from_file(from.join(VOCABULARY))?;
        let text = source.text.config(vocab.size());
        let trained = checkpoint.average(TextToImageModel {
            text: text.init(device),
            transformer: self.model_config(bits).init(device),
        })?;
        Ok((trained, text))
    }

    /// Rejects a tokenizer with other scales than `cells`.
    pub(super) fn check_tokenizer(&self, cells: &ScaleSchedule) -> Result<()> {
        ensure!(
            self.patching.cells(&self.schedule()?) == *cells,
            "scales: {:?} with patching {:?} don't cover the tokenizer's scales {:?}",
            self.scales,
            self.patching,
            cells.scales()
        );
        Ok(())
    }

    /// Rejects sizes and chances that contradict each other.
    pub(super) fn check_sizes(&self) -> Result<()> {
        let starts = [&self.transformer_of, &self.continues, &self.from];
        ensure!(
            starts.into_iter().flatten().count() < 2,
            "transformer_of, continues and from exclude each other"
        );
        ensure!(
            !self.edits || self.scenes + self.counts + self.surroundings == 0.0,
            "edits: instructions are made of no scenes, counts or surroundings; leave out these or `edits`"
        );
        self.schedule()?;
        self.text.check()?;
        let ModelSizes { width, heads, .. } = self.model;
        ensure!(
            heads > 0 && width.is_multiple_of(4 * heads),
            "model.heads: the width {width} does not split into {heads} heads of a multiple of 4"
        );
        let pool = self.text.width / 128;
        ensure!(
            width.is_multiple_of(pool),
            "model.width: {width} does not split into the {pool} heads of the text pool (text.width / 128)"
        );
        ensure!(self.batch > 0, "batch must be at least 1");
        config::check_fraction("scenes", self.scenes)?;
        config::check_fraction("counts", self.counts)?;
        config::check_fraction("scenes and counts", self.scenes + self.counts)?;
        config::check_fraction("surroundings", self.surroundings)?;
        config::check_fraction("plain.captions", self.plain.captions)?;
        ensure!(self.plain.repeat > 0, "plain.repeat must be at least 1");
        Ok(())
    }
}
