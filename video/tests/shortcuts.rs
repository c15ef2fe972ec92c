//! What a run leaves out to be faster, on a tiny model with random weights.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_video::clips::{Layout, Plan};
use nextscale_video::codes::CodeBits;
use nextscale_video::generate::{GenerateInput, GenerateOptions, Step, generate};
use nextscale_video::guidance::InfinityStarGuidance;
use nextscale_video::infinity_star::{InfinityStar, InfinityStarConfig, Limits};
use nextscale_video::pyramid::given_bits;

const BITS: CodeBits = CodeBits {
    semantic: 2,
    detail: 8,
};

fn model() -> InfinityStar {
    let config = InfinityStarConfig {
        width: 32,
        depth: 3,
        heads: 2,
        kv_heads: 1,
        mlp_hidden: 48,
        bits: BITS,
        text_channels: 6,
        text_max_len: 9,
        attention_bias: true,
        block_chunks: 1,
    };
    let device = Device::flex();
    device.seed(3);
    config.init(&device)
}

/// An image and two clips in which most scales are repeated more than twice.
fn plan() -> Plan {
    let layout = Layout {
        image_repeats: vec![3, 1, 3],
        clip_repeats: vec![4, 3, 3],
        semantic_scales: 1,
        clip_frames: 3,
    };
    Plan::new(&layout, &[[1, 1], [1, 2], [2, 3]], 7).unwrap() // 1 + 3 + 3
}

fn options() -> GenerateOptions {
    let guidance = InfinityStarGuidance::Apg {
        scale: 5.0,
        threshold: 0.5,
    };
    GenerateOptions {
        guided_scales: Some(2),
        ..GenerateOptions::new(guidance, 1.0, 0.4)
    }
}

fn run(model: &InfinityStar, plan: &Plan, options: GenerateOptions) -> Vec<Step> {
    generate(model, input(plan, options)).collect()
}

fn input(plan: &Plan, options: GenerateOptions) -> GenerateInput<'_> {
    let text: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin()).collect();
    let config = SamplerConfig {
        temperature: 1.0,
        top_k: 0,
        top_p: 0.0,
    };
    GenerateInput {
        plan,
        text: Tensor::from_data(TensorData::new(text, [1, 4, 6]), &Device::flex()),
        negative: None,
        conditions: Vec::new(),
        options,
        sampler: Sampler::new(config, &[6]),
    }
}

/// How far the latent frames of two whole runs are from each other.
fn off(a: &[Step], b: &[Step]) -> f32 {
    let latent = |steps: &[Step]| -> Tensor<5> {
        let clips = steps.iter().filter(|step| step.ends_clip);
        Tensor::cat(clips.map(|step| step.features.clone()).collect(), 2)
    };
    (latent(a) - latent(b)).abs().max().into_scalar()
}

fn bits(step: &Step) -> Tensor<5, Int> {
    step.codes.clone().bits().unwrap()
}

fn converging(converge: f64) -> GenerateOptions {
    GenerateOptions {
        converge: Some(converge),
        ..options()
    }
}

#[test]
fn what_never_converges_is_the_full_run() {
    let (model, plan) = (model(), plan());
    let full = run(&model, &plan, options());
    let never = run(&model, &plan, converging(0.0));
    assert!(never.iter().all(|step| step.left_out == 0));
    let told = |step: &Step| (step.k, step.pass, step.kept_tokens);
    assert!(never.iter().map(told).eq(full.iter().map(told)));
    assert_eq!(off(&never, &full), 0.0);
}

/// The second pass always ends a scale: the passes, their positions and what the next clip attends to are those of two repeats.
#[test]
fn what_converges_at_once_is_a_run_of_two_repeats() {
    let (model, plan) = (model(), plan());
    let early = run(&model, &plan, converging(1.1));
    assert_eq!((plan.passes().count(), early.len()), (27, 17));
    assert_eq!(early.iter().map(|step| step.left_out).sum::<usize>(), 10);
    let two = run(&model, &plan.with_repeats(2), options());
    let told = |step: &Step| {
        let (pass, kept) = (step.pass, step.kept_tokens);
        (pass.position, pass.keep, step.ends_clip, kept)
    };
    assert!(early.iter().map(told).eq(two.iter().map(told)));
    assert_eq!(off(&early, &two), 0.0);
}

/// The share of bits that are those of the pass before, of passes that can end a scale, and the passes after them.
fn judged(plan: &Plan, [before, step]: [&Step; 2]) -> Option<(f64, usize)> {
    let left = plan.clips()[step.pass.clip].passes_left(&step.pass);
    let open = step.pass.repetition > 0 && left > 0;
    open.then(|| {
        let same = bits(before).equal(bits(step)).float().mean();
        (f64::from(same.into_scalar::<f32>()), left)
    })
}

#[test]
fn a_scale_ends_with_the_pass_that_has_converged() {
    let (model, plan) = (model(), plan());
    let pairs = |steps: &[Step]| -> Vec<Option<(f64, usize)>> {
        let pairs = steps.windows(2);
        pairs
            .map(|pair| judged(&plan, [&pair[0], &pair[1]]))
            .collect()
    };
    let full = pairs(&run(&model, &plan, options()));
    let mut shares: Vec<f64> = full.iter().flatten().map(|(share, _)| *share).collect();
    shares.sort_by(f64::total_cmp);
    let below = (shares[0] + shares[shares.len() - 1]) / 2.0;
    let steps = run(&model, &plan, converging(below));
    let (mut ended, mut went_on) = (0, 0);
    for (step, judged) in steps[1..].iter().zip(pairs(&steps)) {
        let left_out = match judged {
            Some((share, left)) if share < below => left,
            _ => 0,
        };
        assert_eq!(step.left_out, left_out, "pass {}", step.k);
        ended += usize::from(left_out > 0);
        went_on += usize::from(judged.is_some() && left_out == 0);
    }
    assert!(
        ended > 0 && went_on > 0,
        "{ended} scales end, {went_on} go on: {shares:?}"
    );
}

#[test]
fn a_given_image_keeps_its_passes() {
    let (model, plan) = (model(), plan());
    let image = Tensor::<5>::zeros([1, 8, 1, 2, 3], &Device::flex());
    let options = GenerateOptions {
        forced: given_bits(&plan, BITS, image),
        ..converging(1.1)
    };
    let steps = run(&model, &plan, options);
    let of_image = |step: &&Step| step.pass.clip == 0;
    assert_eq!(steps.iter().filter(of_image).count(), 7);
}

fn keeping(shares: &[f64]) -> GenerateOptions {
    GenerateOptions {
        keep_tokens: shares.to_vec(),
        ..options()
    }
}

#[test]
fn scales_that_compute_all_tokens_are_the_full_run() {
    let (model, plan) = (model(), plan());
    let full = run(&model, &plan, options());
    assert_eq!(off(&run(&model, &plan, keeping(&[1.0, 1.0])), &full), 0.0);
    // Less than one token is left out: blocks keep what would stand in, and nothing needs it.
    assert_eq!(off(&run(&model, &plan, keeping(&[0.999])), &full), 0.0);
}

/// Of three blocks the middle one leaves tokens out; the next clip attends to those that it has computed.
#[test]
fn tokens_that_are_left_out_are_not_kept() {
    let (model, plan) = (model(), plan());
    let kept = |options| {
        let mut generation = generate(&model, input(&plan, options));
        while let Some(step) = generation.next() {
            if step.ends_clip {
                return generation.state().numbers();
            }
        }
        0
    };
    // Text of 4 tokens and the image's 6, keys and values of one head of 16, both rows of the batch.
    assert_eq!(kept(options()), 3 * (4 + 6) * 2 * 16 * 2);
    assert_eq!(kept(keeping(&[0.5])), (3 * 4 + 6 + 3 + 6) * 2 * 16 * 2);
    let (full, some) = (options(), keeping(&[0.5]));
    let off = off(&run(&model, &plan, some), &run(&model, &plan, full));
    assert!(off > 0.0, "nothing changes");
}

/// Rows one after the other, and scales that end early, with tokens left out.
#[test]
fn fewer_tokens_go_with_everything_else() {
    let (model, plan) = (model(), plan());
    let some = || keeping(&[0.5, 0.5]);
    let limits = Limits {
        tokens: 1,
        scores: 100,
        hidden: 100,
    };
    let tight = GenerateOptions { limits, ..some() };
    let together = run(&model, &plan, some());
    assert_eq!(off(&run(&model, &plan, tight), &together), 0.0);
    let early = GenerateOptions {
        converge: Some(1.1),
        ..some()
    };
    let two = run(&model, &plan.clone().with_repeats(2), some());
    assert_eq!(off(&run(&model, &plan, early), &two), 0.0);
    for guided_scales in [Some(0), Some(1), None] {
        let options = GenerateOptions {
            guided_scales,
            ..some()
        };
        assert_eq!(run(&model, &plan, options).len(), 27);
    }
}

/// A given image is seen by the next clip as without the switch; with all logits its passes leave tokens out too.
#[test]
fn given_images_and_fewer_tokens() {
    let (model, plan) = (model(), plan());
    let image = Tensor::<5>::zeros([1, 8, 1, 2, 3], &Device::flex());
    let forced = given_bits(&plan, BITS, image);
    let given = |forced_logits| GenerateOptions {
        forced: forced.clone(),
        forced_logits,
        ..keeping(&[0.5])
    };
    let numbers = |options| {
        let mut generation = generate(&model, input(&plan, options));
        let steps: Vec<Step> = generation.by_ref().take(7).collect();
        assert!(steps[6].ends_clip);
        generation.state().numbers()
    };
    assert_eq!(numbers(given(false)), 3 * (4 + 6) * 2 * 16 * 2);
    assert_eq!(numbers(given(true)), (3 * 4 + 6 + 3 + 6) * 2 * 16 * 2);
    assert_eq!(run(&model, &plan, given(false)).len(), 27);
}

/// What tells a scale that has converged: where an encoder's residual is as short as a code, the passes take back what the ones
/// before have added.
#[test]
fn an_encoder_repeats_fewer_bits_from_pass_to_pass() {
    let layout = Layout {
        image_repeats: vec![5],
        clip_repeats: vec![1],
        semantic_scales: 0,
        clip_frames: 1,
    };
    let plan = Plan::new(&layout, &[[16, 16]], 1).unwrap();
    let device = Device::flex();
    device.seed(4);
    // Codes are 0.35 long in each component: half of the components are longer, a sixth twice as long.
    let spread = Distribution::Normal(0.0, 0.5);
    let latent = Tensor::<5>::random([1, 8, 1, 16, 16], spread, &device);
    let all = given_bits(&plan, BITS, latent);
    let shares = all.windows(2).map(|pair| -> f32 {
        let same = pair[0].clone().equal(pair[1].clone());
        same.float().mean().into_scalar()
    });
    let shares: Vec<f32> = shares.collect();
    for (share, told) in shares.iter().zip([0.48, 0.16, 0.03, 0.005]) {
        assert!((share - told).abs() < 0.03, "{shares:?}");
    }
}
