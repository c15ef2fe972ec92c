//! Scales that are recorded as CUDA graphs: the same numbers as launched one by one.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, GenerateOptions, Step, generate};
use nextscale_bitwise::infinity::{Graphs, Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::Patching;
use nextscale_tests::Report;
use nextscale_tokenizer::graphs;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};

use crate::card::launches::launches;
use crate::card::models::To;
use crate::card::{configs, random};

/// Images of one model in one process.
struct Case {
    config: InfinityConfig,
    model: Infinity,
    plan: Plan,
    graphs: Graphs,
    card: Device,
}

/// Tokens of the prompts of an image, or of several at once, and guidance of each scale.
type Image = (&'static [usize], [f64; 4]);

/// Of a kind that comes often, of others in between, and what is recorded of it anew.
const IMAGES: [Image; 12] = [
    (&[5], [3.0; 4]),
    (&[7], [3.0; 4]),
    (&[3], [3.0; 4]),
    (&[64], [1.0, 2.0, 1.0, 4.0]),
    (&[5, 3], [3.0; 4]),
    (&[70], [2.0; 4]),
    (&[70], [2.0; 4]),
    (&[66], [2.0; 4]),
    (&[70], [2.0; 4]),
    (&[5], [2.0; 4]),
    (&[9], [3.0; 4]),
    (&[5], [2.0, 1.0, 1.0, 1.0]),
];

impl Case {
    fn new(dtype: DType, card: &Device, cpu: &Device) -> Self {
        cpu.seed(15);
        let config = InfinityConfig {
            text_max_len: 80,
            ..configs::infinity(3)
        };
        let schedule = configs::schedule();
        let mut model = config.init(cpu);
        for block in &mut model.blocks {
            block.modulation = Param::from_tensor(random([1, 1, 6, 128], cpu) * 0.5);
        }
        Self {
            plan: Plan::stepwise(&config, &schedule, schedule.last(), card),
            model: model.map(&mut To(dtype)).to_device(card),
            graphs: Graphs::default(),
            card: card.clone(),
            config,
        }
    }

    /// All scales of an image.
    fn steps(&self, number: usize, with_graphs: bool) -> Vec<Step> {
        let (lens, weights) = IMAGES[number];
        let (b, l) = (lens.len(), lens.iter().max().copied().unwrap_or(0));
        let cpu = Device::flex();
        cpu.seed(number as u64);
        let features = random([b, l, self.config.text_channels], &cpu);
        let mut options = GenerateOptions::constant(3.0, 1.0, 4);
        options.guidance.weights = weights.to_vec();
        let seeds: Vec<u64> = (0..b as u64).collect();
        let input = GenerateInput {
            quantizer: &Bsq::new(8),
            plan: &self.plan,
            patching: Patching::Single,
            text: TextCondition::new(features.to_device(&self.card), lens.to_vec()),
            negative: None,
            options,
            sampler: Sampler::new(SamplerConfig::default(), &seeds),
        };
        let run = generate(&self.model, input);
        if with_graphs {
            run.with_graphs(&self.graphs).collect()
        } else {
            run.collect()
        }
    }
}

fn numbers<const D: usize>(x: &Tensor<D>) -> Vec<u8> {
    x.clone().into_data().as_bytes().to_vec()
}

pub(super) fn check(report: &mut Report, card: &Device, cpu: &Device) {
    graphs::turn_on();
    for dtype in [DType::BF16, DType::F16] {
        let case = Case::new(dtype, card, cpu);
        for number in 0..IMAGES.len() {
            let mut found = vec![];
            let recorded = launches(card, || found = case.steps(number, true));
            let mut expected = vec![];
            let launched = launches(card, || expected = case.steps(number, false));
            let same = found.iter().zip(&expected).all(|(a, b)| {
                numbers(&a.logits) == numbers(&b.logits)
                    && numbers(&a.features) == numbers(&b.features)
            });
            let name = format!("image {number} {dtype:?}");
            report.within(&name, f32::from(u8::from(!same)), 0.0);
            // Others tune kernels for texts of new lengths, and the last is not recorded: its guidance ends.
            if number == 2 {
                // Of 3 blocks in 4 scales, 13 each; in their place the tensors that are filled.
                let fewer = launched as f32 - recorded as f32;
                println!("{name}: {launched} launches, {recorded} with graphs");
                report.within(&format!("{name}: launches"), 156.0 - 40.0 - fewer, 0.0);
            }
        }
    }
}
