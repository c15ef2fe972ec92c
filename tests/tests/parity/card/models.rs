use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan as InfinityPlan, TextCondition};
use nextscale_bitwise::vae::BsqVaeConfig;
use nextscale_models::device::Dtype;
use nextscale_models::pixels;
use nextscale_tests::Report;
use nextscale_tokenizer::{Scale, VqVaeConfig};
use nextscale_var_core::blocks::Transformer as _;
use nextscale_var_core::shortcuts::Shortcuts;
use nextscale_var_core::var::{Plan as VarPlan, Var};
use nextscale_video::infinity_star::{Limits, Segment, State};
use nextscale_video::vae::resample::Resample;
use nextscale_video::{InfinityStar, InfinityStarVaeConfig};

use crate::card::{configs, off, random};

/// Casts all parameters.
pub(super) struct To(pub DType);

impl ModuleMapper for To {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// A model on the CPU in f32 and one on the card in a type, of the same rounded numbers.
pub(super) fn twins<M: Module>(model: M, dtype: DType, card: &Device) -> [M; 2] {
    let rounded = model.map(&mut To(dtype));
    let there = rounded.clone().to_device(card);
    [rounded.map(&mut To(DType::F32)), there]
}

/// Two prompts of different lengths, scale by scale, with a block whose gains are not small; the same for an edit.
pub(super) fn infinity(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(7);
    let config = configs::infinity(3);
    let mut model = config.init(cpu);
    for block in &mut model.blocks {
        block.modulation = Param::from_tensor(random([1, 1, 6, 128], cpu) * 0.5);
    }
    let features = random([2, 5, 128], cpu);
    let inputs: Vec<Tensor<3>> = [4, 25, 81].map(|n| random([2, n, 8], cpu)).to_vec();
    let source = random([1, 81, 8], cpu);
    for (name, source) in [("infinity", None), ("edit", Some(source))] {
        let steps = |model: &Infinity, device: &Device| {
            let text = TextCondition::new(features.clone().to_device(device), vec![5, 3]);
            let source = source.clone().map(|source| source.to_device(device));
            infinity_steps(&config, model, &text, source, &inputs)
        };
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let [here, there] = twins(model.clone(), dtype, card);
            let both = steps(&there, card).into_iter().zip(steps(&here, cpu));
            for (k, (found, expected)) in both.enumerate() {
                let bound = if dtype == DType::BF16 { 3e-2 } else { 5e-3 };
                report.within(
                    &format!("{name} {k} {dtype:?}"),
                    off(found, expected),
                    bound,
                );
            }
        }
    }
}

/// Logits of all scales, of an edit if there is a source.
fn infinity_steps(
    config: &InfinityConfig,
    model: &Infinity,
    text: &TextCondition,
    source: Option<Tensor<3>>,
    inputs: &[Tensor<3>],
) -> Vec<Tensor<3>> {
    let (schedule, device) = (configs::schedule(), text.features.device());
    let make = match source {
        Some(_) => InfinityPlan::editing,
        None => InfinityPlan::stepwise,
    };
    let plan = make(config, &schedule, schedule.last(), &device);
    let mut state = model.start(text, &plan);
    if let Some(source) = source {
        model.read_source(source, &mut state, &plan);
    }
    let step = |k: usize| {
        let input = k
            .checked_sub(1)
            .map(|i| inputs[i].clone().to_device(&device));
        model.forward_scale(k, input, &mut state, &plan, None)
    };
    (0..4).map(step).collect()
}

/// Two classes, scale by scale.
pub(super) fn var(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(8);
    let config = configs::var(3);
    let model = config.init(cpu);
    let inputs: Vec<Tensor<3>> = [4, 25, 81].map(|n| random([2, n, 4], cpu)).to_vec();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let [here, there] = twins(model.clone(), dtype, card);
        let steps = |model: &Var, device: &Device| -> Vec<Tensor<3>> {
            let plan = VarPlan::stepwise(&config, device);
            let mut state = model.start(&[3, 5], &plan);
            let step = |k: usize| {
                let input = k
                    .checked_sub(1)
                    .map(|i| inputs[i].clone().to_device(device));
                model.forward_scale(k, input, &mut state, &plan)
            };
            (0..4).map(step).collect()
        };
        for (k, (found, expected)) in steps(&there, card)
            .into_iter()
            .zip(steps(&here, cpu))
            .enumerate()
        {
            let bound = if dtype == DType::BF16 { 3e-2 } else { 5e-3 };
            report.within(&format!("var {k} {dtype:?}"), off(found, expected), bound);
        }
    }
}

/// Passes of text, an image and a clip, kept and not kept, at once and in parts.
pub(super) fn star(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(11);
    for (attention_bias, limits) in [
        (false, Limits::default()),
        (
            true,
            Limits {
                tokens: 20,
                hidden: 160 * 7,
                ..Limits::default()
            },
        ),
    ] {
        let config = configs::star(3, attention_bias);
        let model = config.init(cpu);
        let passes = [
            (5, Some(Segment::Text)),
            (1, None),
            (12, Some(Segment::Clip)),
            (30, None),
        ];
        let inputs = passes.map(|(l, _)| random([2, l, 128], cpu));
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let [here, there] = twins(model.clone(), dtype, card);
            let run = |model: &InfinityStar, device: &Device| {
                let mut state = State::new(model.depth());
                let mut level = 0.0;
                let pass = |i: usize| {
                    let (l, keep) = passes[i];
                    level += 1.0;
                    let positions: Vec<[f32; 4]> =
                        (0..l).map(|n| [level, 0.0, n as f32, 2.0]).collect();
                    let rope = model.rope(&positions, device);
                    let x = inputs[i].clone().to_device(device);
                    model.forward(x, &rope, &mut state, keep, limits)
                };
                (0..passes.len()).map(pass).collect::<Vec<_>>()
            };
            let both = run(&there, card).into_iter().zip(run(&here, cpu));
            for (k, (found, expected)) in both.enumerate() {
                let bound = if dtype == DType::BF16 { 3e-2 } else { 5e-3 };
                let name = format!("star {attention_bias} {k} {dtype:?}");
                report.within(&name, off(found, expected), bound);
            }
        }
    }
}

/// Passes whose middle block leaves tokens out, with rows of the batch together and one after the other. The tokens that it computes
/// are far louder than the others, so that no rounding changes which they are.
pub(super) fn star_with_fewer_tokens(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(12);
    let model = configs::star(3, false).init(cpu);
    let scales = [Scale::image(3, 4), Scale::image(5, 6), Scale::image(3, 4)];
    let inputs = scales.map(|scale| {
        let loud = (0..scale.tokens()).map(|n| if n % 2 == 0 { 8.0 } else { 0.5 });
        let loud: Vec<f32> = loud.collect();
        let loud = Tensor::<1>::from_floats(loud.as_slice(), cpu).reshape([1, scale.tokens(), 1]);
        random([2, scale.tokens(), 128], cpu) * loud
    });
    for tokens in [1 << 15, 20] {
        let limits = Limits {
            tokens,
            ..Limits::default()
        };
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let [here, there] = twins(model.clone(), dtype, card);
            let run = |model: &InfinityStar, device: &Device| {
                let depth = model.depth();
                let pruner = Shortcuts::new(2, &[0.5]).pruner(depth);
                let mut state = State::with_pruner(depth, pruner);
                let pass = |k: usize| {
                    let scale = scales[k];
                    let positions: Vec<[f32; 4]> = (0..scale.tokens())
                        .map(|n| [k as f32, 0.0, n as f32, 2.0])
                        .collect();
                    let rope = model.rope(&positions, device);
                    let x = inputs[k].clone().to_device(device);
                    let keep = (k == 1).then_some(Segment::Clip);
                    model.forward_scale(x, &rope, &mut state, keep, limits, (k % 2, scale))
                };
                (0..scales.len()).map(pass).collect::<Vec<_>>()
            };
            let both = run(&there, card).into_iter().zip(run(&here, cpu));
            for (k, (found, expected)) in both.enumerate() {
                let bound = if dtype == DType::BF16 { 3e-2 } else { 5e-3 };
                let name = format!("star, fewer tokens {tokens} {k} {dtype:?}");
                report.within(&name, off(found, expected), bound);
            }
        }
    }
}

/// Latents of two images through decoders with and without channels that are multiples of 8.
pub(super) fn decoder(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(9);
    for (bits, base, mult, groups, patch) in [
        (4, 16, vec![1, 2], 4, 1),
        (14, 32, vec![1, 2, 4], 8, 1),
        (8, 64, vec![1, 1, 2], 16, 2),
    ] {
        let config = BsqVaeConfig {
            norm_groups: Some(groups),
            pixel_patch: patch,
            ..BsqVaeConfig::new(bits, base, &mult, 1)
        };
        let vae = config.init(cpu);
        let latent = random([2, bits, 1, 9, 5], cpu) * 4.0;
        let expected = vae.reconstruct(latent.clone());
        let mut there = vae.to_device(card);
        for in_f16 in [false, true] {
            there.decoder.in_f16 = in_f16;
            let found = there.reconstruct(latent.clone().to_device(card));
            let name = format!("decoder {bits} {base} {in_f16}");
            report.within(&name, off(found, expected.clone()), 3e-3);
        }
    }
}

/// Latents of two images through a decoder that attends, with five channels in a group.
pub(super) fn vq_decoder(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(13);
    let config = VqVaeConfig {
        vocabulary: 8,
        channels: 12,
        base_channels: 20,
        mult: vec![1, 2, 16],
        blocks: 1,
        phis: 1,
        phi_ratio: 0.5,
        norm_groups: 4,
    };
    let vae = config.init(cpu);
    let latent = random([2, 12, 1, 7, 5], cpu) * 4.0;
    let expected = vae.reconstruct(latent.clone());
    let mut there = vae.to_device(card);
    for in_f16 in [false, true] {
        there.decoder.in_f16 = in_f16;
        let found = there.reconstruct(latent.clone().to_device(card));
        let name = format!("vq decoder {in_f16}");
        report.within(&name, off(found, expected.clone()), 3e-3);
    }
}

/// Latents of two clips through a video decoder, chunk by chunk.
pub(super) fn video_decoder(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(10);
    for (channels, latent) in [(vec![12, 24, 48], 2), (vec![32, 64, 64], 16)] {
        let config = InfinityStarVaeConfig {
            channels,
            levels: vec![Resample::SpaceTime, Resample::Space],
            encoder_blocks: 1,
            decoder_blocks: 2,
            latent,
            pixel_patch: 1,
        };
        let vae = config.init(cpu);
        let latent = random([2, config.latent_channels(), 6, 3, 2], cpu) * 4.0;
        let expected = vae.decode(latent.clone());
        let mut there = vae.to_device(card);
        for in_f16 in [false, true] {
            there.decoder.in_f16 = in_f16;
            let found = there.decode(latent.clone().to_device(card));
            let name = format!("video decoder {:?} {in_f16}", config.channels);
            report.within(&name, off(found, expected.clone()), 3e-3);
        }
    }
}

/// Bytes of images, and pixels that are not numbers.
pub(super) fn bytes(report: &mut Report, card: &Device, cpu: &Device) {
    cpu.seed(12);
    let pixels = random([2, 3, 5, 7], cpu);
    let expected = pixels::to_bytes(pixels.clone()).expect("numbers");
    let found = pixels::to_bytes(pixels.clone().to_device(card)).expect("numbers");
    let both = found.concat().into_iter().zip(expected.concat());
    let most = both.map(|(a, b)| a.abs_diff(b)).max().unwrap_or(255);
    report.within("bytes", f32::from(most), 1.0);
    let zero = pixels.to_device(card) * 0.0;
    let refused = pixels::to_bytes(zero.clone() / zero).is_err();
    report.within("bytes of NaN", f32::from(u8::from(!refused)), 0.0);
}

/// The same image in all number types.
pub(super) fn images(report: &mut Report, card: &Device) {
    let any = 255.0;
    let bounds = [
        (Dtype::F32, 1.0, any),
        (Dtype::F16, 2.0, any),
        (Dtype::Bf16, 4.0, any),
        (Dtype::Int8, 5.0, any),
    ];
    crate::images::check(report, card, &bounds);
}
