//! Infinity.

use burn::tensor::{Device, Distribution, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, GenerateOptions, Step, generate_on_ranks};
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::Patching;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::guidance::{Guidance, GuidancePoint};
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};

use crate::run::{assert_same, on_ranks};

const CONFIG: InfinityConfig = InfinityConfig {
    width: 128,
    depth: 3,
    heads: 8,
    mlp_ratio: 4.0,
    code_dim: 16,
    text_channels: 128,
    text_max_len: 16,
    block_chunks: 1,
    levels: 15,
};

/// What a run is made of.
struct Case {
    model: Infinity,
    plan: Plan,
    schedule: ScaleSchedule,
    text: TextCondition,
    negative: TextCondition,
}

impl Case {
    fn new() -> Self {
        let device = Device::flex();
        let schedule = ScaleSchedule::square(&[1, 2, 3, 4]).unwrap();
        let normal = Distribution::Normal(0.0, 1.0);
        let text = |lens: Vec<usize>| {
            let longest = lens.iter().copied().max().unwrap();
            let features = Tensor::random([lens.len(), longest, 128], normal, &device);
            TextCondition::new(features, lens)
        };
        Self {
            model: CONFIG.init(&device),
            plan: Plan::stepwise(&CONFIG, &schedule, schedule.last(), &device),
            schedule,
            text: text(vec![5, 3]),
            // Shorter than the prompts: alone it has other columns than next to them.
            negative: text(vec![2, 4]),
        }
    }

    fn run(&self, guidance: &Guidance, negative: bool, ranks: SampleRanks) -> Vec<Step> {
        let scales = self.schedule.len();
        let input = GenerateInput {
            quantizer: &Bsq::new(16),
            plan: &self.plan,
            patching: Patching::Single,
            text: self.text.clone(),
            negative: negative.then(|| self.negative.clone()),
            options: GenerateOptions {
                guidance: guidance.clone(),
                ..GenerateOptions::constant(3.0, 0.7, scales)
            },
            sampler: Sampler::new(SamplerConfig::default(), &[7, 8]),
        };
        generate_on_ranks(&self.model, input, ranks).collect()
    }
}

#[test]
fn ranks_generate_images_as_one_process_does() {
    let case = Case::new();
    let logits = Guidance::constant(3.0, 4);
    let inside = Guidance {
        weights: vec![2.0, 3.0, 1.0, 4.0],
        points: vec![GuidancePoint::Logits, GuidancePoint::FromEnd(1)],
    };
    let only_inside = Guidance {
        points: vec![GuidancePoint::FromEnd(2)],
        ..inside.clone()
    };
    let until = logits.clone().until(2);
    let off = Guidance::constant(1.0, 4);
    for guidance in [logits, inside, only_inside, until, off] {
        for negative in [false, true] {
            let alone = case.run(&guidance, negative, SampleRanks::default());
            assert_eq!(alone.len(), 4);
            for world in [2, 4, 8] {
                let run = |ranks| case.run(&guidance, negative, ranks);
                for steps in on_ranks(world, guidance.is_active(), run) {
                    assert_eq!(steps.len(), 4);
                    for (ours, theirs) in steps.iter().zip(&alone) {
                        assert_same(&ours.logits, &theirs.logits);
                        assert_same(&ours.features, &theirs.features);
                    }
                }
            }
        }
    }
}
