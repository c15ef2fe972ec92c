//! The configuration of an InfinityStar run.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Device;
use nextscale_bitwise::correction::SelfCorrection;
use nextscale_models::FirstFrame;
use nextscale_text::T5Encoder;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{ScaleWeighting, TrainOptions};
use nextscale_video::{CodeBits, InfinityStar, InfinityStarConfig, InfinityStarGuidance};
use serde::{Deserialize, Serialize};

use crate::batches::clips::ClipSettings;
use crate::config::check_fraction;
use crate::error::{Result, TrainError, ensure};
use crate::run_folder;
use crate::tokenizer::causal::CausalRun;
use crate::transformer::TransformerKind;
use crate::transformer::text::{TextSizes, default_drop};

/// Configuration of a text-to-video transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InfinityStarRun {
    /// [`TransformerKind::InfinityStar`].
    pub kind: TransformerKind,
    /// Folder of the data set, as `nextscale data build` wrote it.
    pub data: PathBuf,
    /// Folder of the causal tokenizer's run.
    pub tokenizer: PathBuf,
    /// Folder of a run whose whole model, text encoder and vocabulary included, is the start of this one.
    #[serde(default)]
    pub continues: Option<PathBuf>,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Clips per batch.
    pub batch: usize,
    /// How clips are made.
    pub clips: ClipSettings,
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
    /// Number format of the matrix products in the blocks.
    #[serde(default)]
    pub precision: Precision,
    /// Share of prompts that are replaced by the unconditional one.
    #[serde(default = "default_drop")]
    pub condition_drop: f64,
    /// What generates the first frame for the exported model; it is then not trained. Without it, the model does.
    #[serde(default)]
    pub first_frame: Option<FirstFrame>,
    /// Default guidance of the exported model.
    pub guidance: InfinityStarGuidance,
    /// Default temperature of the exported model.
    pub temperature: f64,
    /// Frames per second of the exported model.
    pub fps: usize,
    /// Name of the exported model.
    #[serde(default)]
    pub name: String,
    /// What the exported model generates, what it was trained on, and its licence.
    #[serde(default)]
    pub about: String,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

/// Sizes of the transformer; the rest follows from the tokenizer and the text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelSizes {
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Hidden units of the feed-forward.
    pub hidden: usize,
}

/// What is trained.
#[derive(Module, Debug)]
pub(crate) struct TextToVideoModel {
    /// Prompt to features.
    pub text: T5Encoder,
    /// Features and running sums to bits.
    pub transformer: InfinityStar,
}

impl InfinityStarRun {
    /// The transformer on a tokenizer with these bits.
    pub(super) fn model_config(&self, bits: CodeBits) -> InfinityStarConfig {
        InfinityStarConfig {
            width: self.model.width,
            depth: self.model.depth,
            heads: self.model.heads,
            kv_heads: self.model.kv_heads,
            mlp_hidden: self.model.hidden,
            bits,
            text_channels: self.text.width,
            text_max_len: self.text.max_len,
            attention_bias: false,
            block_chunks: 1,
        }
    }

    /// A model with random weights, or that of [`InfinityStarRun::continues`], on an autodiff device; `size` is that of
    /// the vocabulary.
    pub(super) fn model(
        &self,
        bits: CodeBits,
        size: usize,
        device: &Device,
    ) -> Result<TextToVideoModel> {
        let text = self.text.config(size);
        let fresh = TextToVideoModel {
            text: text.init_with(self.text.embedding_std, device),
            transformer: self.model_config(bits).init(device),
        };
        let Some(from) = &self.continues else {
            return Ok(fresh);
        };
        let (source, checkpoint): (Self, _) = run_folder::source("continues", from)?;
        ensure!(
            source.model_config(bits) == self.model_config(bits) && source.text == self.text,
            "continues: the model of `{}` has other sizes than this configuration",
            from.display()
        );
        Ok(checkpoint.average(fresh)?)
    }

    /// Rejects sizes that contradict each other.
    pub(super) fn check_sizes(&self) -> Result<()> {
        ensure!(self.batch > 0, "batch must be at least 1");
        self.clips.check()?;
        check_fraction("condition_drop", self.condition_drop)?;
        self.text.check()
    }

    /// Rejects sizes that contradict those of the tokenizer.
    pub(super) fn check_tokenizer(&self, tokenizer: &CausalRun) -> Result<()> {
        self.model_config(tokenizer.bits())
            .validate()
            .map_err(|error| TrainError::Invalid(format!("model: the model {error}")))?;
        let plan = tokenizer.plan(self.clips.frames)?;
        ensure!(
            self.first_frame.is_none() || plan.clips().len() > 1,
            "clips.frames: with a given first frame, a clip of one frame leaves nothing to train"
        );
        Ok(())
    }
}
