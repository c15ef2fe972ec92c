//! VAR.

use burn::tensor::Device;
use nextscale_tokenizer::phi::Phi;
use nextscale_tokenizer::vq::Codebook;
use nextscale_tokenizer::{ScaleSchedule, VqCodes};
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::guidance::Guidance;
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_var_core::var::{
    GenerateInput, GenerateOptions, Modulation, Plan, Step, Var, VarConfig, generate_on_ranks,
};

use crate::run::{assert_same, on_ranks};

struct Case {
    config: VarConfig,
    model: Var,
    codes: VqCodes,
}

impl Case {
    fn new(modulation: Modulation, attention: AttentionKind) -> Self {
        let device = Device::flex();
        let config = VarConfig {
            width: 64,
            depth: 3,
            heads: 8,
            classes: 5,
            vocabulary: 48,
            channels: 8,
            schedule: ScaleSchedule::square(&[1, 2, 3, 4]).unwrap(),
            mlp_ratio: 4.0,
            modulation,
            attention,
        };
        Self {
            model: config.init(&device),
            codes: VqCodes {
                codebook: Codebook::init(48, 8, &device),
                phi: Phi::init(4, 8, 0.5, &device),
            },
            config,
        }
    }

    fn run(&self, guidance: &Guidance, smooth: bool, ranks: SampleRanks) -> Vec<Step> {
        let input = GenerateInput {
            pyramid: self.codes.pyramid(),
            plan: &Plan::stepwise(&self.config, &Device::flex()),
            labels: &[3, 1],
            options: GenerateOptions {
                guidance: guidance.clone(),
                smooth,
                ..GenerateOptions::ramp(4.0, 4)
            },
            sampler: Sampler::new(SamplerConfig::default(), &[7, 8]),
        };
        generate_on_ranks(&self.model, input, ranks).collect()
    }
}

#[test]
fn ranks_generate_classes_as_one_process_does() {
    let (ramp, off) = (Guidance::ramp(4.0, 4), Guidance::constant(1.0, 4));
    for case in [
        Case::new(Modulation::Own, AttentionKind::Cosine),
        Case::new(Modulation::Shared, AttentionKind::Scaled),
    ] {
        for (guidance, smooth) in [
            (ramp.clone(), false),
            (ramp.clone(), true),
            (ramp.clone().until(2), false),
            (off.clone(), false),
        ] {
            let alone = case.run(&guidance, smooth, SampleRanks::default());
            for world in [2, 4, 8] {
                let run = |ranks| case.run(&guidance, smooth, ranks);
                for steps in on_ranks(world, guidance.is_active(), run) {
                    assert_eq!(steps.len(), 4);
                    for (ours, theirs) in steps.iter().zip(&alone) {
                        assert_same(&ours.unguided, &theirs.unguided);
                        assert_same(&ours.logits, &theirs.logits);
                        assert_same(&ours.features, &theirs.features);
                    }
                }
            }
        }
    }
}
