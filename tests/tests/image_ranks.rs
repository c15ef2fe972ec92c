//! One image on several ranks, which share the halves of a guided batch and the tokens of each: the same bits as in one process.

use std::sync::Arc;
use std::thread;

use burn::tensor::{Device, Distribution, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, GenerateOptions, Step, generate_on_ranks};
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::ranks::ImageRanks;
use nextscale_bitwise::tokens::Patching;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::collective::Collective;
use nextscale_var_core::guidance::{Guidance, GuidancePoint};
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_var_core::threads;

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

    fn run(&self, guidance: &Guidance, negative: bool, ranks: ImageRanks) -> Vec<Step> {
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

    fn on_ranks(&self, world: usize, guidance: &Guidance, negative: bool) -> Vec<Vec<Step>> {
        thread::scope(|scope| {
            let run = |ranks: Arc<dyn Collective>| {
                scope.spawn(move || {
                    let ranks = ImageRanks::share(ranks, guidance.is_active()).unwrap();
                    self.run(guidance, negative, ranks)
                })
            };
            let threads: Vec<_> = threads::connect(world).into_iter().map(run).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }
}

fn bits(x: Tensor<5>) -> Vec<u32> {
    x.into_data().iter::<f32>().map(f32::to_bits).collect()
}

#[test]
fn ranks_generate_what_one_process_does() {
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
            let alone = case.run(&guidance, negative, ImageRanks::default());
            assert_eq!(alone.len(), 4);
            let all = [2, 4, 8].map(|world| case.on_ranks(world, &guidance, negative));
            for steps in all.into_iter().flatten() {
                assert_eq!(steps.len(), 4);
                for (ours, theirs) in steps.into_iter().zip(&alone) {
                    let numbers = |step: &Step| bits(step.logits.clone().unsqueeze::<5>());
                    assert_eq!(numbers(&ours), numbers(theirs), "{guidance:?}");
                    assert_eq!(bits(ours.features), bits(theirs.features.clone()));
                }
            }
        }
    }
}
