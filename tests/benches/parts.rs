//! Convolutions and resizing as the released tokenizers use them: `cargo bench -p nextscale-tests --profile dev --bench parts`.

#![allow(missing_docs)] // what criterion_group! makes

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use nextscale_tokenizer::conv::{Conv, GroupNorm};
use nextscale_tokenizer::{Resize, Scale, resize};

fn parts(c: &mut Criterion) {
    let device = Device::flex();
    let default = Distribution::Default;
    for (channels, side) in [(128, 128), (512, 64), (512, 16)] {
        let x = Tensor::<4>::random([1, channels, side, side], default, &device);
        let conv = Conv::init(channels, channels, 3, &device);
        c.bench_function(
            &format!("conv 3x3, {channels} channels, {side}x{side}"),
            |b| {
                b.iter(|| black_box(conv.forward(x.clone())));
            },
        );
        let norm = GroupNorm::init(channels, 32, &device);
        c.bench_function(
            &format!("norm and silu, {channels} channels, {side}x{side}"),
            |b| {
                b.iter(|| black_box(norm.forward_silu(x.clone())));
            },
        );
    }
    let x = Tensor::<5>::random([1, 32, 1, 32, 32], default, &device);
    c.bench_function("linear 32x32 to 64x64, 32 channels", |b| {
        b.iter(|| black_box(resize(x.clone(), Scale::image(64, 64), Resize::Linear)));
    });
}

criterion_group!(benches, parts);
criterion_main!(benches);
