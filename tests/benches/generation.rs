//! Generating one image at the size of the embedded model, part by part: `cargo bench -p nextscale-tests --profile dev --bench generation`.

#![allow(missing_docs)] // what criterion_group! makes

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Int, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, GenerateOptions, generate};
use nextscale_bitwise::infinity::{InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::loss;
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_tokenizer::ScaleSchedule;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_var_core::train::ScaleWeighting;

const PATCHING: Patching = Patching::Double;

/// A tokenizer for 64-pixel icons: stride 8, 32 bits, patches of 4 x 4 pixels, 2.5 million parameters.
fn tokenizer() -> BsqVaeConfig {
    BsqVaeConfig {
        norm_groups: Some(8),
        pixel_patch: 4,
        ..BsqVaeConfig::new(32, 64, &[1, 2], 1)
    }
}

/// The sizes of configs/icons-transformer.yaml.
fn transformer() -> InfinityConfig {
    InfinityConfig {
        width: 256,
        depth: 6,
        heads: 4,
        code_dim: PATCHING.code_dim(tokenizer().bits),
        text_channels: 256,
        text_max_len: 48,
        mlp_ratio: 4.0,
        block_chunks: 1,
        levels: 15,
    }
}

fn generation(c: &mut Criterion) {
    let device = Device::flex();
    let vae_config = tokenizer();
    let config = transformer();
    let schedule = ScaleSchedule::square(&[1, 2, 3, 4]).expect("a schedule");
    let (model, vae) = (config.init(&device), vae_config.init(&device));
    let plan = Plan::stepwise(&config, &schedule, schedule.last(), &device);
    let bsq = Bsq::new(vae_config.bits);
    let normal = Distribution::Normal(0.0, 1.0);
    let text = TextCondition::new(Tensor::random([1, 8, 256], normal, &device), vec![8]);
    let run = || {
        let options = GenerateOptions::constant(3.0, 1.0, schedule.len());
        let sampler = Sampler::new(SamplerConfig::default(), &[7]);
        let input = GenerateInput {
            quantizer: &bsq,
            plan: &plan,
            patching: PATCHING,
            text: text.clone(),
            negative: None,
            options,
            sampler,
        };
        let scales = generate(&model, input);
        scales.last().expect("four scales").features
    };
    let latent = run();
    c.bench_function("four scales with guidance", |b| b.iter(|| black_box(run())));
    c.bench_function("decode 64x64", |b| {
        b.iter(|| black_box(vae.decode(latent.clone())));
    });
    let logits = Tensor::<3>::random([1, 256, 64], normal, &device);
    c.bench_function("sample 256 tokens of 32 bits", |b| {
        let mut sampler = Sampler::new(SamplerConfig::default(), &[7]);
        b.iter(|| black_box(sampler.sample_bits(logits.clone())));
    });
}

/// One training step of the embedded model, without the optimiser.
fn training(c: &mut Criterion) {
    let device = Device::flex().autodiff();
    let config = transformer();
    let schedule = ScaleSchedule::square(&[1, 2, 3, 4]).expect("a schedule");
    let model = config.init(&device);
    let plan = Plan::teacher_forcing(&config, &schedule, schedule.last(), &device);
    let (b, d) = (32, config.code_dim);
    let normal = Distribution::Normal(0.0, 1.0);
    let batch = TeacherForcing {
        inputs: Tensor::random([b, 29, d], normal, &device),
        bits: Tensor::<3, Int>::zeros([b, 30, d], &device),
        source: None,
    };
    let lens: Vec<usize> = (0..b).map(|i| 6 + i % 7).collect();
    let text = TextCondition::new(Tensor::random([b, 12, 256], normal, &device), lens);
    let weights = ScaleWeighting::Area.weights(&schedule, &device);
    let mut group = c.benchmark_group("training");
    group.sample_size(10);
    group.bench_function("loss and gradients of 32 images", |bench| {
        bench.iter(|| {
            let value = loss(&model, &batch, &text, &plan, &weights).loss;
            black_box(value.backward())
        });
    });
    group.finish();
}

criterion_group!(benches, generation, training);
criterion_main!(benches);
