//! InfinityStar.

use burn::tensor::{Device, Distribution, Tensor};
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_video::clips::{Layout, Plan};
use nextscale_video::codes::CodeBits;
use nextscale_video::generate::{
    Condition, GenerateInput, GenerateOptions, Generation, Step, generate_on_ranks,
};
use nextscale_video::guidance::InfinityStarGuidance;
use nextscale_video::infinity_star::{InfinityStar, InfinityStarConfig, Segment};
use nextscale_video::pyramid::given_bits;

use crate::run::{assert_same, on_ranks};

/// Twice as many query heads as key heads.
pub fn config() -> InfinityStarConfig {
    InfinityStarConfig {
        width: 64,
        depth: 3,
        heads: 8,
        kv_heads: 4,
        mlp_hidden: 96,
        bits: CodeBits {
            semantic: 4,
            detail: 8,
        },
        text_channels: 16,
        text_max_len: 9,
        attention_bias: true,
        block_chunks: 1,
    }
}

/// An image and two clips.
pub fn plan() -> Plan {
    let layout = Layout {
        image_repeats: vec![2, 1, 2],
        clip_repeats: vec![1, 2, 1],
        semantic_scales: 1,
        clip_frames: 3,
    };
    Plan::new(&layout, &[[1, 1], [1, 2], [2, 3]], 6).unwrap()
}

/// A model and what it generates from.
pub struct Case {
    model: InfinityStar,
    plan: Plan,
    text: Tensor<3>,
    negative: Option<Tensor<3>>,
    cells: Tensor<5>,
}

impl Case {
    pub fn new(negative: bool) -> Self {
        let device = Device::flex();
        let random = |len: usize| {
            Tensor::random(
                [1, len, 16],
                Distribution::Normal(0.0, 1.0),
                &Device::flex(),
            )
        };
        Self {
            model: config().init(&device),
            plan: plan(),
            text: random(5),
            negative: negative.then(|| random(7)),
            cells: Tensor::random([1, 8, 1, 2, 3], Distribution::Normal(0.0, 1.0), &device),
        }
    }

    /// Numbers in the keys and values that a rank keeps at the end.
    fn kept(&self, options: &GenerateOptions, ranks: SampleRanks) -> usize {
        let mut run = self.start(options, false, ranks);
        run.by_ref().for_each(drop);
        run.state().numbers()
    }

    pub fn run(
        &self,
        options: &GenerateOptions,
        conditioned: bool,
        ranks: SampleRanks,
    ) -> Vec<Step> {
        self.start(options, conditioned, ranks).collect()
    }

    fn start(
        &self,
        options: &GenerateOptions,
        conditioned: bool,
        ranks: SampleRanks,
    ) -> Generation<'_> {
        let past = Condition {
            segment: Segment::Detail,
            cells: self.cells.clone(),
            frames: vec![0],
            position: 0,
        };
        let config = SamplerConfig {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
        };
        let input = GenerateInput {
            plan: &self.plan,
            text: self.text.clone(),
            negative: self.negative.clone(),
            conditions: conditioned.then_some(past).into_iter().collect(),
            options: options.clone(),
            sampler: Sampler::new(config, &[11]),
        };
        generate_on_ranks(&self.model, input, ranks)
    }
}

fn assert_same_videos(case: &Case, options: &GenerateOptions, conditioned: bool, worlds: &[usize]) {
    let alone = case.run(options, conditioned, SampleRanks::default());
    for &world in worlds {
        let run = |ranks| case.run(options, conditioned, ranks);
        for steps in on_ranks(world, options.guidance.is_active(), run) {
            assert_eq!(steps.len(), alone.len());
            for (ours, theirs) in steps.iter().zip(&alone) {
                let both = [ours, theirs].map(|step| (step.k, step.left_out, step.kept_tokens));
                assert_eq!(both[0], both[1], "{world} ranks");
                assert_eq!(ours.raw.is_some(), theirs.raw.is_some());
                if let (Some(ours), Some(theirs)) = (&ours.raw, &theirs.raw) {
                    assert_same(ours, theirs);
                }
                assert_same(&ours.features, &theirs.features);
            }
        }
    }
}

pub fn apg() -> InfinityStarGuidance {
    InfinityStarGuidance::Apg {
        scale: 5.0,
        threshold: 0.5,
    }
}

#[test]
fn ranks_generate_videos_as_one_process_does() {
    let options = |guidance| GenerateOptions::new(guidance, 1.0, 0.4);
    let until = GenerateOptions {
        guided_scales: Some(2),
        ..options(apg())
    };
    let case = Case::new(false);
    let forced = GenerateOptions {
        forced: given_bits(&case.plan, config().bits, case.cells.clone()),
        ..options(apg())
    };
    let converge = GenerateOptions {
        converge: Some(0.6),
        ..options(apg())
    };
    for options in [
        options(apg()),
        until,
        forced,
        converge,
        options(InfinityStarGuidance::Cfg { scale: 3.0 }),
        options(InfinityStarGuidance::None),
    ] {
        // Two halves of up to four ranks; without guidance four ranks share the tokens, as many as there are key heads.
        let worlds = if options.guidance.is_active() {
            [2, 4, 8].as_slice()
        } else {
            &[2, 4]
        };
        assert_same_videos(&case, &options, false, worlds);
    }
    // Prompts of different length, and a past.
    assert_same_videos(&Case::new(true), &options(apg()), true, &[2, 4, 8]);
}

/// A rank keeps the keys and values of its rows and its heads.
#[test]
fn ranks_share_keys_and_values() {
    let case = Case::new(false);
    for guidance in [apg(), InfinityStarGuidance::None] {
        let options = GenerateOptions::new(guidance, 1.0, 0.4);
        let alone = case.kept(&options, SampleRanks::default());
        for world in [2, 4] {
            let kept = |ranks| case.kept(&options, ranks);
            let shares = on_ranks(world, guidance.is_active(), kept);
            assert_eq!(shares, vec![alone / world; world], "{guidance:?}");
        }
    }
}

/// Where tokens are left out, the halves may still be on two ranks.
#[test]
fn halves_may_leave_tokens_out() {
    let options = GenerateOptions {
        keep_tokens: vec![0.5],
        guided_scales: Some(2),
        ..GenerateOptions::new(apg(), 1.0, 0.4)
    };
    assert_same_videos(&Case::new(true), &options, false, &[2]);
}
