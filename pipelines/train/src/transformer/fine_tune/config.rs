//! The configuration of a fine-tune.

use std::path::PathBuf;

use nextscale_bitwise::correction::SelfCorrection;
use nextscale_models::search::SearchPath;
use nextscale_models::{Architecture, LoraChoice, Model, released};
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::{LoraConfig, ScaleWeighting, TrainOptions};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::{Result, TrainError, ensure};
use crate::transformer::TransformerKind;

/// Configuration of a fine-tune of a model of any kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FineTuneConfig {
    /// [`TransformerKind::FineTune`].
    pub kind: TransformerKind,
    /// The model: a released one by name, a model folder or a checkpoint.
    pub from: String,
    /// Folder in which the files of released models are looked for first.
    #[serde(default)]
    pub models_dir: Option<PathBuf>,
    /// Tokenizer of a checkpoint, instead of the released one.
    #[serde(default)]
    pub tokenizer: Option<PathBuf>,
    /// Text encoder of a checkpoint, in Hugging Face's layout.
    #[serde(default)]
    pub text_encoder: Option<PathBuf>,
    /// Random weights instead of those of the model, to rehearse: nothing useful is learned.
    #[serde(default)]
    pub random_weights: bool,
    /// Folder of the data set, as `nextscale data build` wrote it.
    pub data: PathBuf,
    /// Low-rank adapters instead of the whole transformer.
    #[serde(default)]
    pub lora: Option<LoraConfig>,
    /// Parts of a whole transformer that stay as they are, by the beginning of their names: `blocks.0`, `word_embed`.
    #[serde(default)]
    pub frozen: Vec<String>,
    /// How the frozen weights are kept in memory while adapters are trained.
    #[serde(default)]
    pub storage: Storage,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images or clips per batch.
    #[serde(default = "one")]
    pub batch: usize,
    /// Weights of the tokens of each scale; as in the official recipe if absent.
    #[serde(default)]
    pub weighting: Option<ScaleWeighting>,
    /// Errors that the transformer learns to correct; as in the official recipe if absent.
    #[serde(default)]
    pub correction: Option<SelfCorrection>,
    /// Share of prompts or classes that are replaced by the unconditional one.
    #[serde(default = "tenth")]
    pub condition_drop: f64,
    /// Share of the target that is spread over all codes; only for models of classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Largest share of samples whose attention or feed-forward layer is left out of a block, in the last block; it grows from 0 in
    /// the first.
    #[serde(default)]
    pub drop_path: f64,
    /// Number format of the matrix products in the blocks.
    #[serde(default)]
    pub precision: Precision,
    /// Whether each block is computed a second time for its gradients, so that the activations of one block are in memory instead of
    /// those of all.
    #[serde(default = "yes")]
    pub gradient_checkpointing: bool,
    /// Images that are generated during training.
    #[serde(default)]
    pub samples: Option<Samples>,
    /// Name of the exported model.
    #[serde(default)]
    pub name: Option<String>,
    /// What the exported model generates, what it was trained on, and its licence.
    #[serde(default)]
    pub about: Option<String>,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

fn tenth() -> f64 {
    0.1
}

/// How frozen weights are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Storage {
    /// 4 bytes a number.
    #[default]
    F32,
    /// 2 bytes a number.
    Bf16,
    /// 1 byte a number in the blocks' matrices.
    Int8,
    /// In their file, from which each block is read when it is needed.
    Stream,
}

/// What is generated during training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Samples {
    /// Steps between two sheets.
    pub every_steps: u64,
    /// Prompts, or names of classes.
    pub prompts: Vec<String>,
    /// Images of each.
    #[serde(default = "one")]
    pub count: usize,
}

impl FineTuneConfig {
    /// Opens the model; no weight is loaded.
    pub(crate) fn open(&self) -> Result<Model> {
        let named = [
            ("tokenizer", &self.tokenizer),
            ("text_encoder", &self.text_encoder),
        ];
        for (key, path) in named {
            if let Some(path) = path.as_ref().filter(|path| !path.exists()) {
                let message = format!("`{}` does not exist", path.display());
                return Err(TrainError::setting(key, message));
            }
        }
        let search_path = SearchPath::new(self.models_dir.as_deref())
            .with_tokenizer(self.tokenizer.as_deref())
            .with_text_encoder(self.text_encoder.as_deref());
        if self.random_weights {
            let shape = released::shape(&self.from).ok_or_else(|| {
                let known = released::SHAPES;
                TrainError::setting("from", format!("there is no size `{}`: {known}", self.from))
            })?;
            return Ok(Model::with_random_weights(shape)?);
        }
        Ok(Model::open_in(&self.from, &search_path)?)
    }

    /// The model with adapters on it.
    pub(crate) fn open_with(&self, loras: &[LoraChoice]) -> Result<Model> {
        Ok(self.open()?.with_loras(loras)?)
    }

    /// Rejects settings that contradict each other or the kind of model.
    pub(crate) fn check(&self, architecture: Architecture) -> Result<()> {
        ensure!(self.batch > 0, "batch must be at least 1");
        ensure!(
            self.lora.is_none() || self.frozen.is_empty(),
            "frozen: adapters leave the whole model frozen; leave out `frozen` or `lora`"
        );
        ensure!(
            self.lora.is_some() || self.storage == Storage::F32,
            "storage: a transformer that is trained as a whole is in f32; `storage` is for `lora`"
        );
        ensure!(
            self.storage == Storage::F32 || self.precision == Precision::F32,
            "precision: it is for weights in f32; leave out `precision` or `storage`"
        );
        ensure!(
            self.label_smoothing == 0.0 || architecture == Architecture::Var,
            "label_smoothing: it is for models of classes"
        );
        ensure!(
            self.correction.is_none() || architecture != Architecture::Var,
            "correction: a model of classes has no bits to flip"
        );
        if let Some(samples) = &self.samples {
            ensure!(
                samples.every_steps > 0 && samples.count > 0 && !samples.prompts.is_empty(),
                "samples: every_steps and count must be at least 1, and prompts must not be empty"
            );
            ensure!(
                !self.random_weights,
                "samples: a rehearsal with random weights has nothing to show"
            );
        }
        for (key, share) in [
            ("condition_drop", self.condition_drop),
            ("label_smoothing", self.label_smoothing),
            ("drop_path", self.drop_path),
        ] {
            config::check_fraction(key, share)?;
            ensure!((..1.0).contains(&share), "{key}: 1 leaves nothing to learn");
        }
        Ok(())
    }

    /// The errors to be corrected: those of the official recipe unless the configuration says otherwise.
    pub(crate) fn correction(&self) -> SelfCorrection {
        self.correction.unwrap_or_default()
    }
}
