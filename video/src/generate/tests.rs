use burn::tensor::{Distribution, TensorData};
use nextscale_var_core::sampler::SamplerConfig;

use super::*;
use crate::clips::Layout;
use crate::guidance::InfinityStarGuidance;
use crate::infinity_star::{InfinityStarConfig, Limits, tiny};
use crate::pyramid::given_bits;

const GRIDS: [[usize; 2]; 3] = [[1, 1], [1, 2], [2, 3]];

fn layout() -> Layout {
    Layout {
        image_repeats: vec![2, 1, 2],
        clip_repeats: vec![1, 2, 1],
        semantic_scales: 1,
        clip_frames: 3,
    }
}

fn plan(frames: usize) -> Plan {
    Plan::new(&layout(), &GRIDS, frames).unwrap()
}

fn model() -> (InfinityStarConfig, InfinityStar) {
    let config = tiny();
    (config.clone(), config.init(&Device::flex()))
}

fn text(len: usize) -> Tensor<3> {
    let data: Vec<f32> = (0..len * 6).map(|i| (i as f32 * 0.7).sin()).collect();
    Tensor::from_data(TensorData::new(data, [1, len, 6]), &Device::flex())
}

fn apg() -> GenerateOptions {
    let guidance = InfinityStarGuidance::Apg {
        scale: 5.0,
        threshold: 0.5,
    };
    GenerateOptions::new(guidance, 1.0, 0.4)
}

fn sampler(seed: u64) -> Sampler {
    let config = SamplerConfig {
        temperature: 1.0,
        top_k: 0,
        top_p: 0.0,
    };
    Sampler::new(config, &[seed])
}

fn input(plan: &Plan, options: GenerateOptions, seed: u64) -> GenerateInput<'_> {
    GenerateInput {
        plan,
        text: text(4),
        negative: None,
        conditions: Vec::new(),
        options,
        sampler: sampler(seed),
    }
}

/// Latent frames of a whole run.
fn latent(passes: impl Iterator<Item = Step>) -> Tensor<5> {
    let clips = passes.filter(|pass| pass.ends_clip);
    Tensor::cat(clips.map(|pass| pass.features).collect(), 2)
}

fn off<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar()
}

#[test]
fn only_what_later_passes_see_is_kept() {
    let (_, model) = model();
    let plan = plan(8); // 1 + 3 + 3 + 1
    let run = generate(&model, input(&plan, apg(), 1));
    assert_eq!(run.state().tokens(), 4);
    // After the last pass of a clip, its finest grid replaces the one before.
    let kept: Vec<(bool, usize)> = run.map(|p| (p.ends_clip, p.kept_tokens)).collect();
    let mut expected = 4;
    for ((ends, tokens), clip) in kept.iter().zip(plan.passes().map(|p| p.clip)) {
        if *ends && clip < 3 {
            expected = 4 + 6 * [1, 3, 3][clip];
        }
        assert_eq!(*tokens, expected, "clip {clip}");
    }
    assert_eq!(kept.len(), plan.passes().count());
    assert_eq!(4 + plan.kept_tokens(), 22);
}

#[test]
fn a_clip_sees_only_the_one_before() {
    // Keys and values by hand: the last clip with the state that the passes before it must leave.
    let (_, model) = model();
    let plan = plan(7);
    let all: Vec<_> = generate(&model, input(&plan, apg(), 3)).collect();
    let raw = |pass: &Step, visible: &[&Step]| {
        let device = Device::flex();
        let mut state = State::new(model.blocks.len());
        let tokens = model.text_tokens(text(4));
        let negative = model.text_tokens(model.unconditional(4));
        let rope = model.rope(&text_positions(4), &device);
        let tokens = Tensor::cat(vec![tokens, negative], 0);
        let limits = Limits::default();
        model.forward(tokens, &rope, &mut state, Some(Segment::Text), limits);
        let forward = |p: &Step, state: &mut State, keep| {
            let frames: Vec<usize> = (0..p.pass.scale.t)
                .map(|t| t + p.pass.first_frame)
                .collect();
            let at = 9 + p.pass.position;
            let at = grid_positions(p.pass.scale, plan.reference(), &frames, at);
            let x = model.embed(p.input.clone()).repeat_dim(0, 2);
            model.forward(x, &model.rope(&at, &device), state, keep, limits)
        };
        for &earlier in visible {
            forward(earlier, &mut state, Some(Segment::Clip));
        }
        model.logits(forward(pass, &mut state, None), pass.pass.kind)
    };
    let ends: Vec<&Step> = all.iter().filter(|p| p.ends_clip).collect();
    let last = ends[2];
    let ours = last.raw.clone().unwrap();
    // The clip before was computed after the image, whose keys it replaces.
    assert!(off(raw(last, &[ends[0], ends[1]]), ours.clone()) < 1e-5);
    assert!(off(raw(last, &[ends[0]]), ours.clone()) > 1e-4);
    assert!(off(raw(last, &[]), ours) > 1e-4);
}

#[test]
fn rows_queries_and_units_in_runs_change_nothing() {
    let (_, model) = model();
    let plan = plan(4);
    let run = |limits| {
        let options = GenerateOptions { limits, ..apg() };
        latent(generate(&model, input(&plan, options, 2)))
    };
    let tight = Limits {
        tokens: 1,
        scores: 100,
        hidden: 100,
    };
    assert_eq!(off(run(tight), run(Limits::default())), 0.0);
}

#[test]
fn a_given_image_stays_and_costs_one_pass() {
    let (config, model) = model();
    let plan = plan(4);
    let device = Device::flex();
    let image = Tensor::<5>::random([1, 8, 1, 2, 3], Distribution::Normal(0.0, 0.5), &device);
    let forced = given_bits(&plan, config.bits, image);
    assert_eq!(forced.len(), 5);
    let run = |forced_logits| {
        let options = GenerateOptions {
            forced: forced.clone(),
            forced_logits,
            ..apg()
        };
        generate(&model, input(&plan, options, 4)).collect::<Vec<_>>()
    };
    let (lean, full) = (run(false), run(true));
    assert!(lean[..5].iter().all(|p| p.raw.is_none()));
    assert!(full.iter().all(|p| p.raw.is_some()));
    assert_eq!(off(latent(lean.into_iter()), latent(full.into_iter())), 0.0);
}

#[test]
fn seeds_decide_and_negative_prompts_count() {
    let (_, model) = model();
    let plan = plan(1);
    let run = |negative: Option<Tensor<3>>, seed| {
        let input = GenerateInput {
            negative,
            ..input(&plan, apg(), seed)
        };
        let run = generate(&model, input);
        run.map(|p| p.logits.unwrap()).last().unwrap()
    };
    assert_eq!(off(run(None, 5), run(None, 5)), 0.0);
    assert!(off(run(None, 5), run(None, 6)) > 0.0);
    assert!(off(run(Some(text(2)), 5), run(None, 5)) > 0.0);
}

/// Passes without guidance are those of the prompts alone, whatever the rows that they leave out hold; kept ones have both.
#[test]
fn guidance_ends_after_some_scales_of_each_clip() {
    let (_, model) = model();
    let plan = plan(4);
    let all: Vec<_> = generate(&model, input(&plan, apg(), 3)).collect();
    let options = GenerateOptions {
        forced: all
            .iter()
            .map(|step| step.codes.clone().bits().unwrap())
            .collect(),
        forced_logits: true,
        guided_scales: Some(2),
        ..apg()
    };
    let some: Vec<_> = generate(&model, input(&plan, options, 3)).collect();
    for (full, some) in all.iter().zip(&some) {
        let (raw, own) = (full.raw.clone().unwrap(), some.raw.clone().unwrap());
        let guided = some.pass.index < 2;
        let rows = if guided || some.pass.keep { 2 } else { 1 };
        assert_eq!(own.dims()[0], rows, "pass {}", some.k);
        assert!(off(raw.clone().slice_dim(0, 0..rows), own) < 1e-5);
        let plain = raw.slice_dim(0, 0..1) * if some.pass.clip == 0 { 1.0 } else { 2.5 };
        let same = off(plain, some.logits.clone().unwrap()) < 1e-4;
        assert_eq!(same, !guided, "pass {}", some.k);
    }
}
