use burn::module::Param;
use burn::tensor::{Bool, DType, Device, Tensor, activation::softmax};
use nextscale_tests::Report;
use nextscale_tokenizer::{Resize, Scale, resize};
use nextscale_var_core::card::{self, Affine, Branch, HeadNorm, Heads};
use nextscale_var_core::int8::Int8;
use nextscale_var_core::layers::{self, Linear, normalize};
use nextscale_var_core::rope::RopeTable;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};

use crate::card::{off, random, rounded};

/// Rounding to bf16 and back to the nearest.
const BF16: f32 = 5e-3;

pub(super) fn rows(report: &mut Report, card: &Device, cpu: &Device) {
    for (rows, conditions, c) in [
        (1, 1, 64),
        (6, 2, 1024),
        (34, 2, 1920),
        (5, 1, 2048),
        (4, 2, 3584),
    ] {
        let x = random([rows, c], cpu) * 3.0 + 1.0;
        let affine = Affine {
            scale: random([conditions, c], cpu),
            shift: random([conditions, c], cpu),
            plus: 1.0,
            centred: true,
        };
        let (y, bias) = (random([rows, c], cpu), random([c], cpu));
        let gain = random([conditions, c], cpu);
        let there = |x: &Tensor<2>| x.clone().to_device(card);
        let spread = |x: &Tensor<2>| {
            let wide = x.clone().reshape([conditions, 1, c]);
            let wide = wide.expand([conditions, rows / conditions, c]);
            wide.reshape([rows, c])
        };
        let norm = |x: Tensor<2>| {
            let normed = normalize(x.unsqueeze::<3>()).squeeze_dim::<2>(0);
            normed * (spread(&affine.scale) + 1.0) + spread(&affine.shift)
        };
        let on_card = Affine {
            scale: there(&affine.scale),
            shift: there(&affine.shift),
            plus: 1.0,
            centred: true,
        };
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let bound = if dtype == DType::F32 { 2e-6 } else { BF16 };
            let y = rounded(y.clone(), dtype);
            let bias = rounded(bias.clone(), dtype);
            let branch = Branch {
                y: there(&y).cast(dtype),
                bias: bias.clone().to_device(card).cast(dtype),
                gain: there(&gain),
            };
            let sum = x.clone() + (y + bias.unsqueeze()) * spread(&gain);
            let found = card::norm(there(&x), &on_card, dtype);
            report.within(
                &format!("norm {rows} {c} {dtype:?}"),
                off(found, norm(x.clone())),
                bound,
            );
            let found = card::add(there(&x), branch.clone());
            report.within(
                &format!("add {rows} {c} {dtype:?}"),
                off(found, sum.clone()),
                2e-6,
            );
            let (found, normed) = card::add_norm(there(&x), branch, &on_card);
            report.within(
                &format!("sum {rows} {c} {dtype:?}"),
                off(found, sum.clone()),
                2e-6,
            );
            report.within(
                &format!("norm of sum {rows} {c} {dtype:?}"),
                off(normed, norm(sum)),
                bound,
            );
        }
    }
}

pub(super) fn heads(report: &mut Report, card: &Device, cpu: &Device) {
    for (b, l, h, d) in [
        (2, 5, 3, 64),
        (1, 1, 2, 128),
        (2, 9, 16, 128),
        (1, 4, 5, 32),
    ] {
        let positions: Vec<[f32; 1]> = (0..l).map(|i| [i as f32 * 0.7]).collect();
        let rope = RopeTable::new(&positions, d, 100.0, cpu);
        let rope_there = RopeTable::new(&positions, d, 100.0, card);
        for dtype in [DType::F32, DType::BF16] {
            let x = rounded(random([b * l, h * d], cpu), dtype);
            let bias = rounded(random([h * d], cpu), dtype);
            let log = rounded(random([1, h, 1, 1], cpu) * 2.0 + 4.0, dtype);
            let param = |x: Tensor<1>| Param::from_tensor(x.to_device(card).cast(dtype));
            let bias_there = param(bias.clone());
            let log_there = Param::from_tensor(log.clone().to_device(card).cast(dtype));
            for (biased, unit, learned, rotated) in [
                (false, false, false, false),
                (true, true, true, true),
                (false, true, false, true),
                (true, false, false, false),
            ] {
                let heads = Heads {
                    shape: [b, h, l, d],
                    bias: biased.then_some(&bias_there),
                    norm: if unit {
                        HeadNorm::Length
                    } else {
                        HeadNorm::Nothing
                    },
                    log_scale: learned.then_some(&log_there),
                    weight: None,
                    scale: 0.5,
                    rope: rotated.then_some(&rope_there),
                    dtype: DType::F32,
                };
                let found = card::heads(x.clone().to_device(card).cast(dtype), heads);
                let mut expected = x.clone();
                if biased {
                    expected = expected + bias.clone().unsqueeze();
                }
                let mut expected = expected.reshape([b, l, h, d]) * 0.5;
                if unit {
                    let length = (expected.clone() * expected.clone()).sum_dim(3).sqrt();
                    expected = expected / length * 0.5;
                }
                if learned {
                    let factor = log.clone().clamp_max(100f64.ln()).exp();
                    expected = expected * factor.reshape([1, 1, h, 1]);
                }
                if rotated {
                    expected = rope.apply(expected);
                }
                let name = format!("heads {b} {l} {h} {d} {biased} {unit} {learned} {rotated}");
                report.within(&name, off(found, expected.swap_dims(1, 2)), 1e-5);
            }
        }
    }
}

pub(super) fn attention(report: &mut Report, card: &Device, cpu: &Device) {
    for (n, m) in [
        (1, 1),
        (1, 70),
        (64, 64),
        (100, 7),
        (7, 100),
        (65, 129),
        (144, 40),
    ] {
        for (d, h, g) in [(128, 2, 2), (64, 4, 2), (32, 3, 3), (96, 2, 1)] {
            let b = 2;
            let half = |shape| rounded(random::<4>(shape, cpu), DType::F16);
            let q = half([b, h, n, d]) * 0.25;
            let (k, v) = (half([b, g, m, d]), half([b, g, m, d]));
            let visible = |image: usize| (m * (image + 1)).div_ceil(2);
            let hidden: Vec<bool> = (0..b)
                .flat_map(|i| (0..m).map(move |key| key >= visible(i)))
                .collect();
            let mask = |device: &Device| {
                Tensor::<1, Bool>::from_data(hidden.as_slice(), device).reshape([b, 1, 1, m])
            };
            let wide = |x: &Tensor<4>| {
                let x = x
                    .clone()
                    .reshape([b, g, 1, m * d])
                    .expand([b, g, h / g, m * d]);
                x.reshape([b, h, m, d])
            };
            for masked in [false, true] {
                let scores = q.clone().matmul(wide(&k).transpose());
                let scores = if masked {
                    scores.mask_fill(mask(cpu).expand([b, h, n, m]), f32::NEG_INFINITY)
                } else {
                    scores
                };
                let expected = softmax(scores, 3).matmul(wide(&v)).swap_dims(1, 2);
                let there = |x: &Tensor<4>| x.clone().to_device(card).cast(DType::F16);
                let mask = mask(card);
                let found = card::attention(
                    there(&q),
                    there(&k),
                    there(&v),
                    masked.then_some(&mask),
                    DType::F32,
                );
                let name = format!("attention {n} {m} {d} {h} {g} {masked}");
                report.within(&name, off(found, expected), 2e-3);
            }
        }
    }
}

pub(super) fn product(report: &mut Report, card: &Device, cpu: &Device) {
    for (m, k, n) in [
        (1, 64, 32),
        (5, 2048, 64),
        (20, 96, 40),
        (60, 200, 2048),
        (70, 72, 136),
        (300, 64, 8192),
        (130, 2048, 8),
        (1100, 40, 2056),
    ] {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let x = rounded(random([m, k], cpu), dtype);
            let w = rounded(random([k, n], cpu) * (k as f64).powf(-0.5), dtype);
            let bias = rounded(random([n], cpu), dtype);
            let layer = Linear {
                weight: Param::from_tensor(w.clone().to_device(card).cast(dtype)),
                bias: Some(Param::from_tensor(bias.clone().to_device(card).cast(dtype))),
                int8: None,
                low_rank: None,
            };
            let plain = x.clone().matmul(w.clone());
            let there = x.clone().to_device(card).cast(dtype);
            let found = card::product(there.clone(), &layer);
            report.within(
                &format!("product {m} {k} {n} {dtype:?}"),
                off(found, plain.clone()),
                BF16,
            );
            let found = card::gelu(there.clone(), &layer);
            let expected = layers::gelu(plain + bias.unsqueeze());
            report.within(
                &format!("gelu {m} {k} {n} {dtype:?}"),
                off(found, expected),
                BF16,
            );
            if dtype == DType::F32 {
                continue;
            }
            let int8 = Int8::quantize(w, card);
            let matrix = int8.dequantize().to_device(cpu);
            let layer = Linear {
                int8: Some(int8),
                low_rank: None,
                ..layer
            };
            let found = card::product(there, &layer);
            report.within(
                &format!("int8 product {m} {k} {n} {dtype:?}"),
                off(found, x.matmul(matrix)),
                BF16,
            );
        }
    }
}

pub(super) fn sample(report: &mut Report, card: &Device, cpu: &Device) {
    for (v, top_k, top_p) in [
        (4096, 900, 0.96),
        (4096, 0, 0.5),
        (300, 10, 0.0),
        (5, 2, 0.9),
        (7, 0, 0.0),
    ] {
        let config = SamplerConfig {
            temperature: 0.8,
            top_k,
            top_p,
        };
        let logits = random([2, 60, v], cpu) * 3.0;
        let draw = |logits: Tensor<3>| -> Vec<i64> {
            let drawn = Sampler::new(config, &[3, 4]).sample(logits);
            drawn.into_data().iter::<i64>().collect()
        };
        let (found, expected) = (draw(logits.clone().to_device(card)), draw(logits));
        let other = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        report.within(&format!("sample {v} {top_k} {top_p}"), other as f32, 1.0);
    }
}

pub(super) fn resized(report: &mut Report, card: &Device, cpu: &Device) {
    for (from, to) in [
        ([1, 4, 6], [1, 8, 9]),
        ([1, 16, 16], [1, 5, 1]),
        ([3, 4, 4], [5, 2, 8]),
    ] {
        let x = random([2, 7, from[0], from[1], from[2]], cpu);
        let to = Scale::new(to[0], to[1], to[2]);
        for mode in [Resize::Area, Resize::Linear, Resize::Bicubic] {
            let found = resize(x.clone().to_device(card), to, mode);
            let name = format!("resize {from:?} {to} {mode:?}");
            report.within(&name, off(found, resize(x.clone(), to, mode)), 1e-6);
        }
    }
}
