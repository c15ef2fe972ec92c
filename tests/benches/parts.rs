//! Convolutions and resizing as the released tokenizers use them: `cargo bench -p nextscale-tests --profile dev --bench parts`.

#![allow(missing_docs)] // what criterion_group! makes

use std::hint::black_box;

use burn::tensor::{DType, Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use nextscale_tokenizer::conv::{Conv, GroupNorm};
use nextscale_tokenizer::{Resize, Scale, product, resize};
use nextscale_var_core::int8::Int8;
use nextscale_var_core::matmul::matmul_bf16;

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

/// The products of a block of Infinity-125M and of VAR-d16, in each number type of the weights.
fn products(c: &mut Criterion) {
    let device = Device::flex();
    let default = Distribution::Default;
    for (rows, input, output) in [
        (2, 768, 3072),
        (512, 768, 3072),
        (512, 3072, 768),
        (512, 1024, 4096),
        (32, 2048, 8192),
    ] {
        let x = Tensor::<2>::random([rows, input], default, &device);
        let w = Tensor::<2>::random([input, output], default, &device);
        let name = |dtype: &str| format!("{rows}x{input} times {input}x{output}, {dtype}");
        c.bench_function(&name("f32"), |b| {
            b.iter(|| black_box(product::matmul(&x, &w)));
        });
        let half = w.clone().cast(DType::BF16);
        c.bench_function(&name("bf16"), |b| {
            b.iter(|| black_box(matmul_bf16(x.clone(), half.clone())));
        });
        let small = Int8::quantize(w, &device);
        c.bench_function(&name("int8"), |b| {
            b.iter(|| black_box(small.product(x.clone(), DType::F32)));
        });
    }
}

criterion_group!(benches, parts, products);
criterion_main!(benches);
