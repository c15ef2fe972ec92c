//! The trained models, all asked in the same way.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use nextscale_comparators::dit::{self, SampleInput};
use nextscale_comparators::raster::{self, RasterCache};
use nextscale_train::{
    Trained, TrainedDit, TrainedRaster, TrainedVar, trained_dit, trained_raster, trained_var,
};
use nextscale_var_core::guidance::Guidance;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_var_core::var::{self, Plan};
use serde::{Deserialize, Serialize};

use crate::error::StudyError;
use crate::operations::Operations;

/// How codes are drawn, as in the samples of the VAR paper.
const SAMPLING: SamplerConfig = SamplerConfig {
    temperature: 1.0,
    top_k: 0,
    top_p: 0.96,
};

/// Which paradigm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Var,
    Raster,
    Dit,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Var, Self::Raster, Self::Dit];

    /// The `kind` of its run.
    pub fn key(self) -> &'static str {
        match self {
            Self::Var => "var",
            Self::Raster => "raster",
            Self::Dit => "dit",
        }
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Var => "VAR",
            Self::Raster => "raster AR",
            Self::Dit => "DiT",
        }
    }

    /// Blocks for as many parameters as VAR has with `depth`: 18 squares of the width a block of VAR and DiT, 12 one of the raster
    /// transformer.
    pub fn depth(self, depth: usize) -> usize {
        match self {
            Self::Var | Self::Dit => depth,
            Self::Raster => depth * 3 / 2,
        }
    }

    /// The model of a run; of diffusion with so many steps.
    pub fn load(
        self,
        run: &Path,
        steps: usize,
        device: &Device,
    ) -> Result<Box<dyn Competitor>, StudyError> {
        Ok(match self {
            Self::Var => {
                let model = trained_var(run, device)?;
                let plan = Plan::stepwise(&model.config, device);
                Box::new(OfVar { model, plan })
            }
            Self::Raster => Box::new(trained_raster(run, device)?),
            Self::Dit => Box::new(OfDit {
                model: trained_dit(run, device)?,
                steps,
                device: device.clone(),
            }),
        })
    }
}

/// A trained model.
pub(super) trait Competitor: Sync {
    /// Parameters of the transformer.
    fn parameters(&self) -> usize;

    /// What an image costs without guidance.
    fn operations(&self) -> Operations;

    /// Numbers of the keys and values that an image without guidance needs at the end.
    fn kept(&self) -> usize;

    /// Images `[b, 3, h, w]` in [-1, 1], one of each class and seed; a guidance of 1 is none.
    fn generate(&self, labels: &[usize], seeds: &[u64], guidance: f64) -> Tensor<4>;

    /// What its auto-encoder makes of images.
    fn reconstruct(&self, images: Tensor<4>) -> Tensor<4>;
}

/// Numbers of a key and a value in each block for so many tokens.
fn kept(depth: usize, width: usize, tokens: usize) -> usize {
    2 * depth * width * tokens
}

struct OfVar {
    model: TrainedVar,
    plan: Plan,
}

impl Competitor for OfVar {
    fn parameters(&self) -> usize {
        self.model.trained.model.num_params()
    }

    fn operations(&self) -> Operations {
        Operations::var(&self.model.config)
    }

    fn kept(&self) -> usize {
        let config = &self.model.config;
        kept(config.depth, config.width, config.schedule.tokens())
    }

    /// The weight grows to `guidance` over the scales, as in the reference.
    fn generate(&self, labels: &[usize], seeds: &[u64], guidance: f64) -> Tensor<4> {
        let Trained { model, vae, .. } = &self.model.trained;
        let scales = self.plan.schedule().len();
        let input = var::GenerateInput {
            pyramid: vae.pyramid(),
            plan: &self.plan,
            labels,
            options: var::GenerateOptions {
                guidance: Guidance::ramp(guidance - 1.0, scales),
                ..var::GenerateOptions::ramp(0.0, scales)
            },
            sampler: Sampler::new(SAMPLING, seeds),
        };
        let last = var::generate(model, input).last();
        vae.decode(last.expect("a schedule has a scale").features)
    }

    fn reconstruct(&self, images: Tensor<4>) -> Tensor<4> {
        self.model.trained.reconstruct(images)
    }
}

impl Competitor for TrainedRaster {
    fn parameters(&self) -> usize {
        self.model.num_params()
    }

    fn operations(&self) -> Operations {
        Operations::raster(self.model.config(), RasterCache::Kept)
    }

    fn kept(&self) -> usize {
        let config = self.model.config();
        kept(config.depth, config.width, config.tokens())
    }

    fn generate(&self, labels: &[usize], seeds: &[u64], guidance: f64) -> Tensor<4> {
        let input = raster::GenerateInput {
            labels,
            cfg: guidance,
            sampler: Sampler::new(SAMPLING, seeds),
            cache: RasterCache::Kept,
        };
        let codes = raster::generate(&self.model, input).collect();
        self.decode(Tensor::cat(codes, 1))
    }

    fn reconstruct(&self, images: Tensor<4>) -> Tensor<4> {
        Trained::reconstruct(self, images)
    }
}

struct OfDit {
    model: TrainedDit,
    steps: usize,
    device: Device,
}

impl Competitor for OfDit {
    fn parameters(&self) -> usize {
        self.model.trained.model.num_params()
    }

    fn operations(&self) -> Operations {
        Operations::dit(self.model.trained.model.config(), self.steps)
    }

    fn kept(&self) -> usize {
        0
    }

    fn generate(&self, labels: &[usize], seeds: &[u64], guidance: f64) -> Tensor<4> {
        let model = &self.model.trained.model;
        let input = SampleInput {
            labels,
            noise: dit::noise(seeds, model.config(), &self.device),
            cfg: guidance,
            process: self.model.process,
            steps: self.steps,
        };
        let last = dit::sample(model, input).last();
        self.model.decode(last.expect("there is a step"))
    }

    fn reconstruct(&self, images: Tensor<4>) -> Tensor<4> {
        self.model.trained.reconstruct(images)
    }
}

#[cfg(test)]
mod tests {
    use nextscale_comparators::dit::{DitConfig, DitPrediction};
    use nextscale_comparators::raster::RasterConfig;
    use nextscale_tokenizer::ScaleSchedule;
    use nextscale_var_core::attention::AttentionKind;
    use nextscale_var_core::var::{Modulation, VarConfig};

    use super::*;

    /// At the default size no paradigm has more than a tenth more or fewer parameters than VAR.
    #[test]
    fn sizes_are_equal() {
        let (width, depth, heads) = (128, 6, 4);
        let (classes, vocabulary, channels) = (10, 512, 16);
        let var = VarConfig {
            width,
            depth,
            heads,
            classes,
            vocabulary,
            channels,
            schedule: ScaleSchedule::square(&[1, 2, 3, 5, 8]).unwrap(),
            mlp_ratio: 4.0,
            modulation: Modulation::Own,
            attention: AttentionKind::Cosine,
        };
        let raster = RasterConfig {
            width,
            depth: Kind::Raster.depth(depth),
            heads,
            classes,
            vocabulary,
            grid: [8, 8],
            multiple_of: 32,
        };
        let dit = DitConfig {
            width,
            depth: Kind::Dit.depth(depth),
            heads,
            classes,
            channels,
            side: 8,
            patch: 1,
            prediction: DitPrediction::Mean,
        };
        let var = var.parameters() as f64;
        for other in [raster.parameters(), dit.parameters()] {
            let ratio = other as f64 / var;
            assert!((0.9..1.1).contains(&ratio), "{ratio}");
        }
    }
}
