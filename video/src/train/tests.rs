use burn::tensor::Distribution;
use nextscale_var_core::sampler::Sampler;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    clips::Layout,
    generate::{GenerateInput, GenerateOptions, generate},
    guidance::InfinityStarGuidance,
    infinity_star::tiny,
    pyramid::given_bits,
};

fn plan() -> Plan {
    let layout = Layout {
        image_repeats: vec![1, 2],
        clip_repeats: vec![2, 1],
        semantic_scales: 1,
        clip_frames: 2,
    };
    Plan::new(&layout, &[[1, 1], [2, 2]], 4).unwrap()
}

/// Training sees what sampling sees: teacher-forced losses are those of the logits of a run.
#[test]
fn taught_and_stepwise_logits_agree() {
    let device = Device::flex();
    let (config, plan) = (tiny(), plan());
    let model = config.init(&device);
    let latent = Tensor::random([1, 8, 4, 2, 2], Distribution::Normal(0.0, 0.3), &device);
    let text = Tensor::random([1, 5, 6], Distribution::Normal(0.0, 1.0), &device);
    let forced = given_bits(&plan, config.bits, latent.clone());
    let options = GenerateOptions {
        forced,
        forced_logits: true,
        ..GenerateOptions::new(InfinityStarGuidance::Cfg { scale: 1.0 }, 1.0, 1.0)
    };
    let input = GenerateInput {
        plan: &plan,
        text: text.clone(),
        negative: None,
        conditions: Vec::new(),
        options,
        sampler: Sampler::greedy(),
    };
    let run = generate(&model, input);
    let none: Option<(SelfCorrection, &mut ChaCha8Rng)> = None;
    let forcing = TeacherForcing::new(&plan, config.bits, latent, none);
    let stepwise: Vec<Tensor<2>> = run
        .enumerate()
        .map(|(i, pass)| {
            let off = (pass.input - forcing.inputs[i].clone()).abs().max();
            assert!(off.into_scalar::<f32>() < 1e-6, "input of pass {i}");
            loss_per_token(margins(pass.raw.expect("logits")), forcing.bits[i].clone())
        })
        .collect();
    let stepwise = Tensor::cat(stepwise, 1);
    // The prompt is padded, which must not be seen.
    let padded = Tensor::cat(vec![text, Tensor::ones([1, 2, 6], &device)], 1);
    let forced_plan = TeacherForcingPlan::new(&plan, true, ScaleWeighting::Uniform, &device);
    let taught = loss(
        &model,
        &forcing,
        padded.clone(),
        &[5],
        &forced_plan,
        Precision::F32,
    );
    let off: f32 = (taught.per_token - stepwise.clone())
        .abs()
        .max()
        .into_scalar();
    assert!(off < 1e-5, "{off}");

    let clips = TeacherForcingPlan::new(&plan, false, ScaleWeighting::Area, &device);
    let taught = loss(&model, &forcing, padded, &[5], &clips, Precision::F32).per_token;
    let image = 1 + 2 * 4;
    let [_, l] = stepwise.dims();
    let off: f32 = (taught - stepwise.slice_dim(1, image..l))
        .abs()
        .max()
        .into_scalar();
    assert!(off < 1e-5, "{off}");
    let sum: f32 = clips.weights.sum().into_scalar();
    assert!((sum - 1.0).abs() < 1e-5);
}

/// Given clips have no weight, and what is left has all of it.
#[test]
fn given_clips_do_not_count() {
    let device = Device::flex();
    let plan = plan();
    let clips = plan.clips().len() - 1;
    assert_eq!(clips, 2);
    for image in [false, true] {
        let all = TeacherForcingPlan::new(&plan, image, ScaleWeighting::Area, &device);
        let some = all.with_given(&[0, 1]);
        let weights = |plan: &TeacherForcingPlan| -> Vec<f32> {
            plan.weights.to_data().iter().collect::<Vec<f32>>()
        };
        let (whole, rows) = (weights(&all), weights(&some));
        let (first, second) = rows.split_at(whole.len());
        let off = first.iter().zip(&whole).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 1e-6);
        let last: usize = plan.clips()[2]
            .passes
            .iter()
            .map(|p| p.scale.tokens())
            .sum();
        let (given, rest) = second.split_at(whole.len() - last);
        assert!(!given.is_empty() && given.iter().all(|&weight| weight == 0.0));
        assert!((rest.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
#[should_panic(expected = "all 2 clips are given")]
fn a_clip_is_left_to_train() {
    let weighting = ScaleWeighting::Uniform;
    let all = TeacherForcingPlan::new(&plan(), false, weighting, &Device::flex());
    let _ = all.with_given(&[0, 2]);
}

#[test]
fn gradients_reach_all_parts() {
    let device = Device::flex().autodiff();
    let (config, plan) = (tiny(), plan());
    let model = config.init(&device);
    let latent = Tensor::random([2, 8, 4, 2, 2], Distribution::Normal(0.0, 0.3), &device);
    let mut rng = <ChaCha8Rng as rand::SeedableRng>::seed_from_u64(1);
    let forcing = TeacherForcing::new(
        &plan,
        config.bits,
        latent,
        Some((SelfCorrection::default(), &mut rng)),
    );
    let text = Tensor::random([2, 3, 6], Distribution::Normal(0.0, 1.0), &device);
    let forced_plan = TeacherForcingPlan::new(&plan, true, ScaleWeighting::Area, &device);
    let loss = loss(
        &model,
        &forcing,
        text,
        &[3, 2],
        &forced_plan,
        Precision::F32,
    );
    let grads = loss.loss.backward();
    for weight in [
        &model.text_proj.weight,
        &model.semantic_head.weight,
        &model.blocks[0].attention.k.weight,
        &model.blocks[1].mlp.down.weight,
    ] {
        let grad = weight.grad(&grads).expect("a gradient");
        assert!(grad.abs().sum().into_scalar::<f32>() > 0.0);
    }
}
