//! InfinityStar's tokenizer: encoder, codes of a spacetime pyramid, decoder.

use std::path::Path;

use burn::tensor::{Int, Tensor};
use nextscale_tests::{Fixture, Gaps, Report, Stored};
use nextscale_tokenizer::{Codes, Pyramid, Quantizer, Scale, ScaleSchedule};
use nextscale_video::codes::{CodeBits, CodeKind};
use nextscale_video::vae::{InfinityStarVae, InfinityStarVaeConfig, is_unused};
use nextscale_weights::WeightDtype;
use serde_json::Value;

use crate::weights::check_resaved;

pub const LATENTS: f64 = 2e-5;
/// Decoded pixels, clamped to [-1, 1]. Those of the same decoder in double precision are up to 3e-5 off.
pub const PIXELS: f64 = 5e-5;
const SUMS: f64 = 1e-5;
/// A bit of a number closer to zero than this is undecided.
const MARGIN: f64 = 1e-5;

/// Bits of the codes, from the settings; those of the released models where there are none.
pub fn code_bits(f: &Fixture) -> CodeBits {
    let released = CodeBits::INFINITYSTAR;
    let bits = |key: &str, released: usize| {
        let settings = [f.setting(key), &f.config["vae_namespace"][key]];
        let stated = settings.into_iter().find_map(Value::as_u64);
        stated.map_or(released, |bits| bits as usize)
    };
    CodeBits {
        semantic: bits("semantic_scale_dim", released.semantic),
        detail: bits("detail_scale_dim", released.detail),
    }
}

/// The auto-encoder of a folder, whose config has its sizes under the first two keys.
pub fn load(f: &Fixture, channels: &Value, blocks: &Value, file: &str) -> InfinityStarVae {
    let widths = channels.as_array().expect("a list of widths");
    let width = |x: &Value| x.as_u64().expect("a width") as usize;
    let blocks = blocks.as_u64().expect("a number of blocks") as usize;
    let config = InfinityStarVaeConfig {
        channels: widths.iter().map(width).collect(),
        encoder_blocks: blocks,
        decoder_blocks: blocks + 1,
        ..InfinityStarVaeConfig::infinitystar()
    };
    let vae = config.init(&f.device).load(f.dir.join(file));
    vae.unwrap_or_else(|e| panic!("{e}"))
}

pub fn check(f: &Fixture, report: &mut Report) {
    let settings = &f.config["vae_namespace"];
    let (channels, blocks) = (
        &settings["block_out_channels"],
        &settings["layers_per_block"],
    );
    let vae = load(f, channels, blocks, "weights.safetensors");
    report.part("moments", |report| encoder(f, &vae, report));
    if f.has("summed_codes") {
        report.part("lfq_in", |report| codes(f, report));
    }
    for input in ["latent", "codes"] {
        let name = format!("decoded_from_{input}");
        if f.has(&name) {
            report.part(&name, |report| decoder(f, &vae, input, &name, report));
        }
    }
    let save = |path: &Path| vae.save(path, WeightDtype::F32);
    check_resaved(f, save, is_unused, report);
}

fn encoder(f: &Fixture, vae: &InfinityStarVae, report: &mut Report) {
    let frames = f.float::<5>("video_u8") / 127.5 - 1.0;
    report.close(f, "moments", vae.moments(frames.clone()), LATENTS);
    let posterior = vae.encode(frames.clone());
    let latent = vae.latent(posterior.mode());
    report.close(f, "latent_mode", latent, LATENTS);
    let latent = vae.latent(posterior.with_noise(f.float("eps")));
    report.close(f, "latent", latent, LATENTS);
    // Latent frame by latent frame.
    let mut stream = vae.encode_stream();
    let [_, _, t, _, _] = frames.dims();
    let starts = std::iter::once(0).chain((1..t).step_by(vae.frame_stride));
    let moments = starts.map(|from| {
        let to = if from == 0 {
            1
        } else {
            from + vae.frame_stride
        };
        stream.push(frames.clone().slice_dim(2, from..to))
    });
    let moments = Tensor::cat(moments.collect(), 2);
    report.close_as("moments@chunks", moments, f.stored("moments"), LATENTS);
}

/// The passes of a pyramid, from the config's list of steps.
pub struct Pass {
    pub k: usize,
    pub scale: Scale,
    pub kind: CodeKind,
}

/// The clips of the config's steps.
pub fn clips(steps: &Value) -> Vec<Vec<Pass>> {
    let mut clips: Vec<Vec<Pass>> = Vec::new();
    let number = |x: &Value| x.as_u64().expect("a number") as usize;
    for step in steps.as_array().expect("steps") {
        let side = |i: usize| number(&step["thw"][i]);
        let scale = Scale::new(side(0), side(1), side(2));
        let kind = match step["kind"].as_str() {
            Some("semantic") => CodeKind::Semantic,
            _ => CodeKind::Detail,
        };
        let k = number(&step["k"]);
        let starts = clips.last().is_none_or(|clip| {
            let last = clip[clip.len() - 1].scale;
            scale.h < last.h || scale.w < last.w
        });
        let pass = Pass { k, scale, kind };
        match clips.last_mut() {
            Some(clip) if !starts => clip.push(pass),
            _ => clips.push(vec![pass]),
        }
    }
    clips
}

/// Stored bits `[b, d, t, h, w]`.
pub fn bits(f: &Fixture, name: &str) -> Tensor<5, Int> {
    f.int::<4>(name).permute([3, 0, 1, 2]).unsqueeze_dim(0)
}

/// From the stored latent, pass by pass on the stored bits, so that each is judged by itself.
fn codes(f: &Fixture, report: &mut Report) {
    let code_bits = code_bits(f);
    let latent = f.float::<5>("latent");
    let (mut sums, mut from) = (Vec::new(), 0);
    for clip in clips(&f.config["steps"]) {
        let scales = clip.iter().map(|pass| pass.scale).collect();
        let schedule = ScaleSchedule::new(scales).expect("a schedule");
        let frames = schedule.last().t;
        let target = latent.clone().slice_dim(2, from..from + frames);
        from += frames;
        let full = code_bits.quantizer(CodeKind::Detail);
        let sum = Pyramid::plain(&full).descend(target, &schedule, |i, cells| {
            let (k, quantizer) = (clip[i].k, code_bits.quantizer(clip[i].kind));
            let numbers = quantizer.cells(cells.clone()).squeeze_dim::<4>(0);
            let distance = numbers.clone().abs().permute([1, 2, 3, 0]);
            let gaps = Gaps {
                values: distance.into_data().iter().collect(),
                tie: MARGIN,
            };
            report.close(f, &format!("lfq_in.{k:03}"), numbers, SUMS);
            let ours = quantizer.quantize(cells).bits().expect("bits");
            let ours = ours.squeeze_dim::<4>(0).permute([1, 2, 3, 0]);
            let name = format!("bits.{k:03}");
            report.bits(f, &name, ours, Some(&gaps));
            full.embed(&Codes::Bits(bits(f, &name)))
        });
        sums.push(sum);
    }
    report.close(f, "summed_codes", Tensor::cat(sums, 2), SUMS);
}

fn decoder(f: &Fixture, vae: &InfinityStarVae, input: &str, name: &str, report: &mut Report) {
    let latent = match input {
        "codes" => f.float::<5>("summed_codes"),
        _ => f.float::<5>(input),
    };
    let whole = vae.decode(latent.clone());
    let mut stream = vae.decode_stream();
    let t = latent.dims()[2];
    let parts = (0..t).map(|i| stream.push(latent.clone().slice_dim(2, i..i + 1)));
    let parts = Tensor::cat(parts.collect(), 2);
    for (suffix, frames) in [("", whole), ("@chunks", parts)] {
        let kept = kept(f, &format!("kept_frames_{name}"), frames);
        let compared = format!("{name}{suffix}");
        compare_pixels(&compared, kept, f.float(name), input == "codes", report);
    }
}

/// Compares decoded pixels as they are shown, clamped to [-1, 1], and, unless the stored ones are clamped, all of them:
/// with random weights they reach 20, where f32 has steps of 2e-6, so the tolerance grows with the largest.
pub fn compare_pixels(
    name: &str,
    ours: Tensor<5>,
    theirs: Tensor<5>,
    clamped: bool,
    report: &mut Report,
) {
    let shown = theirs.clone().clamp(-1.0, 1.0);
    let label = format!("{name}@shown");
    report.close_as(
        &label,
        ours.clone().clamp(-1.0, 1.0),
        &stored(shown),
        PIXELS,
    );
    if !clamped {
        let tolerance = pixel_tolerance(&theirs);
        report.close_as(name, ours, &stored(theirs), tolerance);
    }
}

/// The tolerance of pixels that are not clamped.
pub fn pixel_tolerance(pixels: &Tensor<5>) -> f64 {
    let largest: f32 = pixels.clone().abs().max().into_scalar();
    PIXELS.max(4e-6 * f64::from(largest))
}

fn stored(pixels: Tensor<5>) -> Stored {
    Stored {
        dims: pixels.dims().to_vec(),
        values: pixels.into_data().iter().collect(),
    }
}

/// The frames that a list in the config names, or all.
fn kept(f: &Fixture, key: &str, frames: Tensor<5>) -> Tensor<5> {
    match f.config[key].as_array() {
        Some(_) => pick(frames, &f.numbers(key)),
        None => frames,
    }
}

/// Some frames of `[b, c, t, h, w]`.
pub fn pick(frames: Tensor<5>, which: &[usize]) -> Tensor<5> {
    let one = |&i: &usize| frames.clone().slice_dim(2, i..i + 1);
    Tensor::cat(which.iter().map(one).collect(), 2)
}
