//! InfinityStar: image and clip from a prompt, and clips from a given image.

use burn::tensor::{Int, Tensor};
use nextscale_tests::{Fixture, Report, Stored};
use nextscale_tokenizer::Codes;
use nextscale_var_core::blocks::Blocks;
use nextscale_var_core::import::{WeightDtype, WeightFile};
use nextscale_var_core::rope::RopeTable;
use nextscale_var_core::sampler::Sampler;
use nextscale_video::clips::{Layout, Pass, SpacetimePlan};
use nextscale_video::frames::{rgb_bytes, without_soft_start};
use nextscale_video::generate::{GenerateOptions, GeneratedPass, generate, given_bits};
use nextscale_video::guidance::StarGuidance;
use nextscale_video::star::{
    Star, StarConfig, grid_positions, read_star, save_star, star_config, text_positions,
};
use nextscale_video::{CodeKind, StarVae};
use serde_json::Value;

use crate::star_vae::{self, BITS, bits, pick};

pub const RAW_LOGITS: f64 = 1e-4;
/// Behind guidance of 34, which amplifies roundings.
const GUIDED_LOGITS: f64 = 3e-3;
pub const SUMS: f64 = 1e-5;
pub const PIXELS: f64 = 2e-5;
/// Bytes that may be off by one.
pub const BYTES_OFF: f64 = 1e-3;
/// A bit whose guided logits are closer than this decides nothing.
const TIE: f64 = 5e-3;

/// A folder with its models.
pub struct Subject<'a> {
    pub f: &'a Fixture,
    pub model: Star,
    pub vae: StarVae,
    pub config: StarConfig,
}

impl<'a> Subject<'a> {
    pub fn open(f: &'a Fixture) -> Self {
        let file = WeightFile::open(&f.dir.join("weights.safetensors"));
        let file = file.unwrap_or_else(|e| panic!("{e}"));
        let config = star_config(&file).unwrap_or_else(|e| panic!("{e}"));
        let stated = &f.config["model"];
        let number = |key: &str| stated[key].as_u64().expect("a size") as usize;
        assert_eq!(config.depth, number("depth"));
        assert_eq!(config.block_chunks, number("block_chunks"));
        assert_eq!(config.width, number("embed_dim"));
        assert_eq!(config.heads, number("num_heads"));
        assert_eq!(config.kv_heads, number("num_key_value_heads"));
        assert_eq!(config.mlp_hidden, number("mlp_ratio") * config.width);
        assert_eq!(config.bits, BITS);
        let model =
            read_star(&config, file, Blocks::Loaded, &f.device).unwrap_or_else(|e| panic!("{e}"));
        let (widths, blocks) = ("vae_block_out_channels", "vae_layers_per_block");
        let (widths, blocks) = (&f.config[widths], &f.config[blocks]);
        let vae = star_vae::load(f, widths, blocks, "vae_weights.safetensors");
        Self {
            f,
            model,
            vae,
            config,
        }
    }

    pub fn resaved(&self, report: &mut Report) {
        let dir = tempfile::tempdir().expect("a folder for temporary files");
        let path = dir.path().join("model.safetensors");
        save_star(&self.config, &self.model, &path, WeightDtype::F32)
            .unwrap_or_else(|e| panic!("{e}"));
        let official = self.f.dir.join("weights.safetensors");
        report.same_file("resaved", &path, &official, |key| key == "sos_token");
    }

    pub fn text(&self, name: &str) -> Tensor<3> {
        self.f.float::<2>(name).unsqueeze_dim(0)
    }

    /// The positions of a pass.
    pub fn rope(&self, plan: &SpacetimePlan, pass: &Pass) -> RopeTable {
        let frames: Vec<usize> = (0..pass.scale.t).map(|t| t + pass.first_frame).collect();
        let at = self.config.text_max_len + pass.position;
        let positions = grid_positions(pass.scale, plan.reference(), &frames, at);
        self.model.rope(&positions, &self.f.device)
    }
}

/// A rotary table as it is stored, the first rows of it: `[2, rows, pairs]`.
pub fn pairs(rope: &RopeTable, rows: usize) -> Tensor<3> {
    let (cos, sin) = rope.slice(0, rows).pairs();
    Tensor::stack(vec![cos, sin], 0)
}

/// The tables of single axes, where they are stored.
pub fn tables(s: &Subject, report: &mut Report) {
    let f = s.f;
    if !f.has("rope.freqs_scales") {
        return;
    }
    let text = s.config.text_max_len as f32;
    let count = |name: &str| {
        let rows = f.stored(name).dims[1];
        (0..rows).map(|i| i as f32).collect::<Vec<_>>()
    };
    let scales = match f.config["rope_freqs_scales_rows_saved"].as_array() {
        Some(rows) => {
            let last = f.number("rope_freqs_scales_len") as u64 - 1;
            let row = |row: &Value| row.as_u64().unwrap_or(last) as f32;
            rows.iter().map(row).collect()
        }
        None => count("rope.freqs_scales"),
    };
    let axes = [
        (
            "rope.freqs_scales",
            scales.iter().map(|x| x + text).collect(),
        ),
        ("rope.freqs_frames", count("rope.freqs_frames")),
        ("rope.freqs_height", count("rope.freqs_height")),
        ("rope.freqs_width", count("rope.freqs_width")),
    ];
    for (axis, (name, places)) in axes.into_iter().enumerate() {
        let at = |place: f32| std::array::from_fn(|i| if i == axis { place } else { 0.0 });
        let positions: Vec<[f32; 4]> = places.into_iter().map(at).collect();
        let all = pairs(&s.model.rope(&positions, &f.device), positions.len());
        let along = all.dims()[2] / 4;
        let ours = all.slice_dim(2, axis * along..(axis + 1) * along);
        report.close(f, name, ours, SUMS);
    }
    let name = "rope.freqs_text";
    if f.has(name) {
        let rows = f.stored(name).dims[4];
        let table = s.model.rope(&text_positions(rows), &f.device);
        let [two, _, width] = pairs(&table, rows).dims();
        let ours = pairs(&table, rows).reshape([two, 1, 1, 1, rows, width]);
        report.close(f, name, ours, SUMS);
    }
}

pub fn layout(f: &Fixture) -> Layout {
    let args = &f.config["args"];
    let list = |key: &str| {
        let text = args[key].as_str().expect("a list");
        serde_json::from_str(text).expect("a list of numbers")
    };
    let number = |key: &str| args[key].as_u64().expect("a number") as usize;
    Layout {
        image_repeats: list("image_scale_repetition"),
        clip_repeats: list("video_scale_repetition"),
        semantic_scales: number("semantic_scales"),
        clip_frames: args["frames_inner_clip"].as_u64().unwrap_or(20) as usize,
    }
}

/// Rows and columns of the scales of one clip.
pub fn grids(f: &Fixture) -> Vec<[usize; 2]> {
    let side = |x: &Value| x.as_u64().expect("a side") as usize;
    let scales = f.config["schedule"].as_array().expect("a schedule").iter();
    let grids = scales.map(|s| [side(&s[1]), side(&s[2])]);
    grids.take(f.number("scales_in_one_clip")).collect()
}

/// What the config says about each step, and what the plan says.
pub fn compare_plan(plan: &SpacetimePlan, steps: &Value, grids: usize, report: &mut Report) {
    let row = |p: &Pass| {
        let kind = f64::from(u8::from(p.kind == CodeKind::Detail));
        let whole = [
            p.clip * grids + p.index,
            p.repetition,
            p.scale.t,
            p.scale.h,
            p.scale.w,
            p.position,
            p.first_frame,
            p.first_frame + p.scale.t,
        ];
        whole.map(|x| x as f64).into_iter().chain([kind])
    };
    let stored = |step: &Value| {
        let frames = step["rope_frames"].as_array();
        let [first, end] = match frames {
            Some(list) => [list[0].clone(), Value::from(list.len())],
            None => [step["frame_ss"].clone(), step["frame_ee"].clone()],
        };
        let (thw, at) = (&step["thw"], &step["rope_scale_pos"]);
        let numbers = [&step["si"], &step["rep"], &thw[0], &thw[1], &thw[2], at];
        let numbers: Vec<f64> = numbers.map(|x| x.as_f64().expect("a number")).to_vec();
        let frames = [first, end].map(|x| x.as_f64().expect("a frame"));
        let kind = f64::from(u8::from(step["kind"] == "detail"));
        numbers.into_iter().chain(frames).chain([kind])
    };
    let ours: Vec<f64> = plan.passes().flat_map(row).collect();
    let steps = steps.as_array().expect("steps");
    let theirs: Vec<f64> = steps.iter().flat_map(stored).collect();
    let table = |values: Vec<f64>| Stored {
        dims: vec![values.len() / 9, 9],
        values,
    };
    report.numbers("plan", &table(ours), &table(theirs), 0.0);
}

pub fn check(f: &Fixture, report: &mut Report) {
    let s = Subject::open(f);
    let plan = SpacetimePlan::new(&layout(f), &grids(f), f.number("pt"));
    let plan = plan.unwrap_or_else(|e| panic!("{e}"));
    report.part("plan", |report| {
        compare_plan(&plan, &f.config["steps"], grids(f).len(), report);
    });
    report.part("rope", |report| tables(&s, report));
    report.part("given", |report| given(&s, &plan, report));
    report.part("taught", |report| {
        let latent = taught(&s, &plan, report);
        report.close(f, "summed_codes", latent.clone(), SUMS);
        report.part("frames", |report| frames(&s, latent, report));
    });
    if matches!(f.config["case"].as_str(), Some("t2i" | "t2v_1s")) {
        report.part("free", |report| free(&s, &plan, report));
    }
    report.part("resaved", |report| s.resaved(report));
}

fn options(s: &Subject) -> GenerateOptions {
    let config = &s.f.config;
    let number = |x: &Value| x.as_f64().expect("a number");
    let guidance = StarGuidance::Apg {
        scale: number(&config["cfg"]),
        threshold: number(&config["apg_norm_threshold"]),
    };
    let tau = config["tau"].as_array().expect("temperatures");
    GenerateOptions::new(guidance, number(&tau[0]), number(&tau[tau.len() - 1]))
}

/// Compares what went into and came out of a pass; `prefix` stands in front of all names.
pub fn compare_pass(
    f: &Fixture,
    prefix: &str,
    pass: &GeneratedPass,
    step: &Value,
    report: &mut Report,
) {
    let name = |what: &str| format!("{prefix}{what}.{:03}", pass.k);
    let stage_in = name("stage_in");
    if f.has(&stage_in) {
        report.close(f, &stage_in, pass.input.clone().squeeze_dim::<4>(0), SUMS);
    }
    let stride = step["logit_token_stride"].as_u64().unwrap_or(1) as usize;
    let (Some(raw), Some(logits)) = (&pass.raw, &pass.logits) else {
        return report.fail(&name("logits"), "not computed");
    };
    if f.has(&name("raw_logits")) {
        report.close(f, &name("raw_logits"), strided(raw, stride), RAW_LOGITS);
    }
    if f.has(&name("logits")) {
        let ours = strided(logits, stride).squeeze_dim::<2>(0);
        let tolerance = match f.has(&name("raw_logits")) {
            true => GUIDED_LOGITS,
            false => 5e-4, // plain guidance
        };
        report.close(f, &name("logits"), ours, tolerance);
    }
    let (ours, gaps) = decide(logits, pass);
    report.bits(f, &name("bits"), ours, Some(&gaps));
}

/// Every so many tokens.
fn strided(logits: &Tensor<3>, stride: usize) -> Tensor<3> {
    let tokens = (0..logits.dims()[1]).step_by(stride);
    let tokens: Vec<i32> = tokens.map(|i| i as i32).collect();
    let index = Tensor::<1, Int>::from_ints(tokens.as_slice(), &logits.device());
    logits.clone().select(1, index)
}

/// The likelier bits, `[t, h, w, d]`, and how sure each is, in the report's units.
fn decide(logits: &Tensor<3>, pass: &GeneratedPass) -> (Tensor<4, Int>, Vec<f64>) {
    let [_, l, wide] = logits.dims();
    let s = pass.pass.scale;
    let bits = Sampler::greedy().sample_bits(logits.clone());
    let pairs = logits.clone().reshape([l * wide / 2, 2]);
    let gap = pairs.clone().slice_dim(1, 1..2) - pairs.slice_dim(1, 0..1);
    let gap = gap.abs() * (1e-4 / TIE);
    let gaps = gap.into_data().iter().collect();
    (bits.reshape([s.t, s.h, s.w, wide / 2]), gaps)
}

/// Every pass behind the stored bits. Returns the sums of all clips.
fn taught(s: &Subject, plan: &SpacetimePlan, report: &mut Report) -> Tensor<5> {
    let (f, steps) = (s.f, &s.f.config["steps"]);
    let used = plan.passes().enumerate().map(|(k, _)| {
        let leaked = steps[k]["leaked"].as_bool().unwrap_or(false);
        bits(
            f,
            &format!("{}bits.{k:03}", if leaked { "gt_" } else { "" }),
        )
    });
    let options = GenerateOptions {
        forced: used.collect(),
        forced_logits: true,
        ..options(s)
    };
    let text = s.text("text_features");
    let greedy = Sampler::greedy();
    let mut clips = Vec::new();
    for pass in generate(&s.model, plan, text, None, &[], options, greedy) {
        let rope = format!("rope_step.{:03}", pass.k);
        if f.has(&rope) {
            let rows = f.stored(&rope).dims[1];
            let table = s.rope(plan, &pass.pass);
            report.close(f, &rope, pairs(&table, rows), SUMS);
        }
        compare_pass(f, "", &pass, &steps[pass.k], report);
        if pass.ends_clip {
            clips.push(pass.features);
        }
    }
    Tensor::cat(clips, 2)
}

/// Every pass behind our own bits.
fn free(s: &Subject, plan: &SpacetimePlan, report: &mut Report) {
    let text = s.text("text_features");
    let run = generate(
        &s.model,
        plan,
        text,
        None,
        &[],
        options(s),
        Sampler::greedy(),
    );
    let mut clips = Vec::new();
    for pass in run {
        let Codes::Bits(ours) = pass.codes else {
            panic!("not bits");
        };
        let name = format!("bits.{:03}", pass.k);
        let ours = ours.squeeze_dim::<4>(0).permute([1, 2, 3, 0]);
        report.bits_as(&format!("{name}@free"), ours, s.f.stored(&name), None);
        if pass.ends_clip {
            clips.push(pass.features);
        }
    }
    let stored = s.f.stored("summed_codes");
    report.close_as("summed_codes@free", Tensor::cat(clips, 2), stored, SUMS);
}

/// The image or video that a run goes on from.
fn given(s: &Subject, plan: &SpacetimePlan, report: &mut Report) {
    let f = s.f;
    if !f.has("cond_latent") {
        return;
    }
    let frames = f.float::<5>("cond_frames_u8") / 127.5 - 1.0;
    let draw = s.vae.encode(frames).with_noise(f.float("cond_eps"));
    report.close(f, "cond_latent", s.vae.latent(draw), PIXELS);
    let ours = given_bits(plan, BITS, f.float("cond_latent"));
    assert_eq!(ours.len(), f.names("gt_bits.").count(), "given passes");
    for (k, bits) in ours.into_iter().enumerate() {
        let bits = bits.squeeze_dim::<4>(0).permute([1, 2, 3, 0]);
        report.bits(f, &format!("gt_bits.{k:03}"), bits, None);
    }
}

/// What the decoder makes of the sums.
fn frames(s: &Subject, latent: Tensor<5>, report: &mut Report) {
    let f = s.f;
    let decoded = s.vae.decode(latent);
    let which = match f.has("frame_index") {
        true => f.sizes("frame_index"),
        false => (0..decoded.dims()[2]).collect(),
    };
    for name in ["decoded_frames", "decoded"] {
        if f.has(name) {
            compare_pixels(f, name, pick(decoded.clone(), &which), PIXELS, report);
        }
    }
    if f.has("frame_mean") {
        let [_, c, t, h, w] = decoded.dims();
        let flat = decoded.clone().swap_dims(1, 2).reshape([t, c * h * w]);
        report.close(f, "frame_mean", flat.mean_dim(1).reshape([t]), PIXELS);
    }
    if f.has("frames_bgr_u8") {
        let shown = pick(without_soft_start(decoded), &which);
        report.bytes(f, "frames_bgr_u8", &bgr(shown), BYTES_OFF);
    }
}

/// Decoded pixels, which are not clamped: those of random weights reach 20, where f32 has steps of 2e-6. So what is shown
/// of them is held to `tolerance`, and the whole to so many parts of the largest.
pub fn compare_pixels(
    f: &Fixture,
    name: &str,
    ours: Tensor<5>,
    tolerance: f64,
    report: &mut Report,
) {
    let theirs = f.float::<5>(name);
    let largest: f32 = theirs.clone().abs().max().into_scalar();
    let off = (ours.clone().clamp(-1.0, 1.0) - theirs.clamp(-1.0, 1.0)).abs();
    let zero = Stored {
        dims: off.dims().to_vec(),
        values: vec![0.0; off.dims().iter().product()],
    };
    report.close_as(&format!("{name}@shown"), off, &zero, tolerance);
    report.close(f, name, ours, tolerance.max(4e-6 * f64::from(largest)));
}

/// `[1, 3, t, h, w]` as the released code returns it: blue first.
pub fn bgr(frames: Tensor<5>) -> Stored {
    let [_, _, t, h, w] = frames.dims();
    let bytes = rgb_bytes(frames.flip([1]));
    Stored {
        dims: vec![1, t, h, w, 3],
        values: bytes.into_iter().map(f64::from).collect(),
    }
}
