//! The configuration of VAR's tokenizer.

use std::path::PathBuf;

use nextscale_data::Augment;
use nextscale_tokenizer::{ScaleSchedule, VqVaeConfig};
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::train::TrainOptions;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::{Result, ensure};
use crate::tokenizer::TokenizerKind;
use crate::tokenizer::adversarial::AdversarialLoss;
use crate::tokenizer::objective::Settings;
use crate::tokenizer::perceptual::PerceptualLoss;
use crate::tokenizer::vq::revival::Revival;

/// Configuration of a tokenizer with a codebook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VqRun {
    /// [`TokenizerKind::Vq`].
    pub kind: TokenizerKind,
    /// Folder of the data set, as `nextscale data build` wrote it.
    pub data: PathBuf,
    /// Seed of the initial weights and of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch: usize,
    /// How images are augmented.
    #[serde(default)]
    pub augment: Augment,
    /// Sizes of the auto-encoder.
    pub model: VqVaeConfig,
    /// Height and width of every scale; the last one is the size of the latent.
    pub scales: Vec<(usize, usize)>,
    /// Weights of the parts of the loss.
    #[serde(default)]
    pub loss: VqLoss,
    /// What happens to codes that are not used.
    #[serde(default)]
    pub revival: Revival,
    /// Number format of the convolutions' products: `bf16` is faster on CPUs with AMX, and f32 elsewhere.
    #[serde(default)]
    pub precision: Precision,
    /// Budget, learning rate and so on.
    pub train: TrainOptions,
}

/// Weights of the parts of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VqLoss {
    /// Mean absolute error.
    pub l1: f64,
    /// Mean squared error.
    pub l2: f64,
    /// Mean absolute error of the differences between neighbours.
    pub edge: f64,
    /// The quantiser's loss.
    pub quantiser: f64,
    /// Weight of the commitment within the quantiser's loss: how strongly the latent is pulled to its codes.
    pub beta: f64,
    /// A loss in the features of VGG16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<PerceptualLoss>,
    /// A discriminator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<AdversarialLoss>,
}

impl Default for VqLoss {
    fn default() -> Self {
        Self {
            l1: 0.5,
            l2: 5.0,
            edge: 0.25,
            quantiser: 1.0,
            beta: 0.25,
            perceptual: None,
            adversarial: None,
        }
    }
}

impl VqRun {
    /// The schedule of the quantiser.
    pub(crate) fn schedule(&self) -> Result<ScaleSchedule> {
        config::schedule(&self.scales)
    }

    /// Rejects sizes that contradict each other or images of `size` x `size` pixels.
    pub(super) fn check_sizes(&self, size: usize) -> Result<()> {
        self.check_model()?;
        config::check_latent(self.schedule()?.last(), size, self.model.stride())?;
        ensure!(self.batch > 0, "batch must be at least 1");
        let &VqLoss {
            l1,
            l2,
            edge,
            quantiser,
            beta,
            ..
        } = &self.loss;
        ensure!(
            [l1, l2, edge, quantiser, beta].iter().all(|&w| w >= 0.0),
            "loss: weights must not be negative"
        );
        ensure!(
            self.revival.after_steps > 0,
            "revival.after_steps must be at least 1"
        );
        self.settings().check(size)
    }

    pub(super) fn settings(&self) -> Settings<'_> {
        Settings {
            perceptual: self.loss.perceptual.as_ref(),
            adversarial: self.loss.adversarial.as_ref(),
            train: self.train,
            seed: self.seed,
        }
    }

    fn check_model(&self) -> Result<()> {
        let model = &self.model;
        ensure!(!model.mult.is_empty(), "model: mult must not be empty");
        for (key, value) in [
            ("vocabulary", model.vocabulary),
            ("channels", model.channels),
            ("phis", model.phis),
        ] {
            ensure!(value > 0, "model: {key} must not be 0");
        }
        config::check_fraction("model.phi_ratio", model.phi_ratio)?;
        let channels = model.mult.iter().map(|mult| mult * model.base_channels);
        config::check_norm_groups(model.norm_groups, channels)
    }
}
