//! InfinityStar: image and clip from a prompt, and clips from a given image.

use std::path::Path;

use burn::tensor::{Int, Tensor};
use nextscale_tests::{Agreement, Fixture, Gaps, Report, Stored};
use nextscale_var_core::blocks::BlockStorage;
use nextscale_var_core::rope::RopeTable;
use nextscale_var_core::sampler::Sampler;
use nextscale_video::InfinityStarVae;
use nextscale_video::clips::{Pass, Plan};
use nextscale_video::generate::{
    Condition, GenerateInput, GenerateOptions, Generation, Step, generate,
};
use nextscale_video::guidance::InfinityStarGuidance;
use nextscale_video::infinity_star::{
    InfinityStar, InfinityStarConfig, grid_positions, infinity_star_config, is_unread,
    read_infinity_star, save_infinity_star,
};
use nextscale_video::pyramid::given_bits;
use nextscale_weights::{WeightDtype, WeightFile};
use serde_json::Value;

use crate::star_plan::{compare_plan, grids, layout, pairs, tables};
use crate::star_vae::{self, LATENTS, bits, code_bits, compare_pixels, pick, pixel_tolerance};
use crate::weights::{check_resaved, official};

const RAW_LOGITS: f64 = 1e-4;
pub const SUMS: f64 = 1e-5;
/// Bytes that may be off by one.
pub const BYTES_OFF: f64 = 1e-3;
/// A bit whose guided logits are closer than this is undecided.
const TIE: f64 = 5e-3;

/// A folder with its models.
pub struct Subject<'a> {
    pub f: &'a Fixture,
    pub model: InfinityStar,
    pub vae: InfinityStarVae,
    pub config: InfinityStarConfig,
    pub guidance: InfinityStarGuidance,
}

impl<'a> Subject<'a> {
    pub fn open(f: &'a Fixture) -> Self {
        let file = WeightFile::open(&official(f));
        let file = file.unwrap_or_else(|e| panic!("{e}"));
        let config = infinity_star_config(&file).unwrap_or_else(|e| panic!("{e}"));
        let stated = &f.config["model"];
        let number = |key: &str| stated[key].as_u64().expect("a size") as usize;
        let kv_heads = stated["num_key_value_heads"].as_u64(); // none or -1 if each head has its own
        assert_eq!(config.depth, number("depth"));
        assert_eq!(config.block_chunks, number("block_chunks"));
        assert_eq!(config.width, number("embed_dim"));
        assert_eq!(config.heads, number("num_heads"));
        assert_eq!(
            config.kv_heads,
            kv_heads.map_or(config.heads, |n| n as usize)
        );
        let ratio = stated["mlp_ratio"].as_f64().expect("a ratio");
        let rounded = config.mlp_hidden as f64 - ratio * config.width as f64;
        assert!(rounded.abs() < 256.0, "{} hidden units", config.mlp_hidden);
        assert_eq!(config.bits, code_bits(f));
        let model = read_infinity_star(&config, file, BlockStorage::Loaded, &f.device)
            .unwrap_or_else(|e| panic!("{e}"));
        let (widths, blocks) = ("vae_block_out_channels", "vae_layers_per_block");
        let (widths, blocks) = (&f.config[widths], &f.config[blocks]);
        let vae = star_vae::load(f, widths, blocks, "vae_weights.safetensors");
        Self {
            f,
            model,
            vae,
            config,
            guidance: guidance(f),
        }
    }

    pub fn resaved(&self, report: &mut Report) {
        let save =
            |path: &Path| save_infinity_star(&self.config, &self.model, path, WeightDtype::F32);
        check_resaved(self.f, save, is_unread, report);
    }

    /// A greedy run with the prompt that is stored under `text`.
    pub fn run<'b>(
        &'b self,
        plan: &Plan,
        text: &str,
        conditions: &[Condition],
        options: GenerateOptions,
    ) -> Generation<'b> {
        let input = GenerateInput {
            plan,
            text: self.text(text),
            negative: None,
            conditions: conditions.to_vec(),
            options,
            sampler: Sampler::greedy(),
        };
        generate(&self.model, input)
    }

    fn text(&self, name: &str) -> Tensor<3> {
        self.f.float::<2>(name).unsqueeze_dim(0)
    }

    /// The positions of a pass.
    pub fn rope(&self, plan: &Plan, pass: &Pass) -> RopeTable {
        let frames: Vec<usize> = (0..pass.scale.t).map(|t| t + pass.first_frame).collect();
        let at = self.config.text_max_len + pass.position;
        let positions = grid_positions(pass.scale, plan.reference(), &frames, at);
        self.model.rope(&positions, &self.f.device)
    }
}

/// Guidance as the settings ask for it: plain or projected.
fn guidance(f: &Fixture) -> InfinityStarGuidance {
    let scale = f.real("cfg");
    match (f.flag("use_cfg"), f.flag("use_apg")) {
        (true, false) => InfinityStarGuidance::Cfg { scale },
        (false, true) => InfinityStarGuidance::Apg {
            scale,
            threshold: f.real("apg_norm_threshold"),
        },
        (cfg, apg) => panic!("config.json has use_cfg {cfg} and use_apg {apg}: one must be on"),
    }
}

/// The tolerance of logits after guidance, which amplifies rounding; projection adds its own.
fn guided_tolerance(guidance: InfinityStarGuidance) -> f64 {
    match guidance {
        InfinityStarGuidance::Apg { .. } => 3e-3,
        _ => 5e-4,
    }
}

/// Temperatures of the image, or of the only clip, and of the clips after it.
pub fn temperatures(f: &Fixture) -> [f64; 2] {
    let tau = f.setting("tau");
    let Some(list) = tau.as_array() else {
        return [f.real("tau"); 2];
    };
    let list: Vec<f64> = list
        .iter()
        .map(|x| x.as_f64().expect("a temperature"))
        .collect();
    let (image, clips) = list.split_at(f.number("scales_in_one_clip").min(list.len()));
    let ends = [image[0], *clips.last().unwrap_or(&image[0])];
    let same = |list: &[f64], value: f64| list.iter().all(|&x| x == value);
    assert!(
        same(image, ends[0]) && same(clips, ends[1]),
        "temperatures {list:?}"
    );
    ends
}

pub fn check(f: &Fixture, report: &mut Report) {
    let s = Subject::open(f);
    let plan = Plan::new(&layout(f), &grids(f), f.number("pt"));
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
    report.part("free", |report| free(&s, &plan, report));
    report.part("resaved", |report| s.resaved(report));
}

/// Settings of a run that takes the bits of the first passes as given.
pub fn options(s: &Subject, forced: Vec<Tensor<5, Int>>) -> GenerateOptions {
    let [image, clips] = temperatures(s.f);
    GenerateOptions {
        forced,
        forced_logits: true,
        ..GenerateOptions::new(s.guidance, image, clips)
    }
}

/// The stored bits of a pass: those of a given image or video where the config says that they were used.
fn used_bits(f: &Fixture, k: usize) -> Tensor<5, Int> {
    let prefix = if is_given(f, k) { "gt_" } else { "" };
    bits(f, &format!("{prefix}bits.{k:03}"))
}

fn is_given(f: &Fixture, k: usize) -> bool {
    f.config["steps"][k]["leaked"].as_bool().unwrap_or(false)
}

/// Compares what went into and came out of a pass; `prefix` stands before all names.
pub fn compare_pass(s: &Subject, prefix: &str, pass: &Step, step: &Value, report: &mut Report) {
    let f = s.f;
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
        report.close(f, &name("logits"), ours, guided_tolerance(s.guidance));
    }
    let (ours, gaps) = decide(logits, pass);
    report.bits(f, &name("bits"), ours, Some(&gaps));
}

/// Every `stride`-th token.
fn strided(logits: &Tensor<3>, stride: usize) -> Tensor<3> {
    let tokens = (0..logits.dims()[1]).step_by(stride);
    let tokens: Vec<i32> = tokens.map(|i| i as i32).collect();
    let index = Tensor::<1, Int>::from_ints(tokens.as_slice(), &logits.device());
    logits.clone().select(1, index)
}

/// The more likely bits, `[t, h, w, d]`, and how clearly each was decided.
fn decide(logits: &Tensor<3>, pass: &Step) -> (Tensor<4, Int>, Gaps) {
    let [_, l, wide] = logits.dims();
    let s = pass.pass.scale;
    let bits = Sampler::greedy().sample_bits(logits.clone());
    let pairs = logits.clone().reshape([l * wide / 2, 2]);
    let gap = pairs.clone().slice_dim(1, 1..2) - pairs.slice_dim(1, 0..1);
    let gaps = Gaps {
        values: gap.abs().into_data().iter().collect(),
        tie: TIE,
    };
    (bits.reshape([s.t, s.h, s.w, wide / 2]), gaps)
}

/// Every pass on the stored bits. Returns the sums of all clips.
fn taught(s: &Subject, plan: &Plan, report: &mut Report) -> Tensor<5> {
    let (f, steps) = (s.f, &s.f.config["steps"]);
    let used = (0..plan.passes().count()).map(|k| used_bits(f, k));
    let options = options(s, used.collect());
    let mut clips = Vec::new();
    for pass in s.run(plan, "text_features", &[], options) {
        let rope = format!("rope_step.{:03}", pass.k);
        if f.has(&rope) {
            let rows = f.dims(&rope)[1];
            let table = s.rope(plan, &pass.pass);
            report.close(f, &rope, pairs(&table, rows), SUMS);
        }
        compare_pass(s, "", &pass, &steps[pass.k], report);
        if pass.ends_clip {
            clips.push(pass.features);
        }
    }
    Tensor::cat(clips, 2)
}

/// Every pass on our own bits. Long runs hold undecided bits, which may end the comparison; an image and a clip of one
/// second do not.
fn free(s: &Subject, plan: &Plan, report: &mut Report) {
    let given = (0..plan.passes().count()).take_while(|&k| is_given(s.f, k));
    let options = options(s, given.map(|k| used_bits(s.f, k)).collect());
    let short = matches!(s.f.config["case"].as_str(), Some("t2i" | "t2v_1s"));
    let mut clips = Vec::new();
    for pass in s.run(plan, "text_features", &[], options) {
        let name = format!("bits.{:03}", pass.k);
        let (ours, gaps) = decide(pass.logits.as_ref().expect("logits"), &pass);
        let (label, stored) = (format!("{name}@free"), s.f.stored(&name));
        let gaps = (!short).then_some(&gaps);
        let agreement = report.bits_as(&label, ours, stored, gaps);
        if agreement != Agreement::Same && !is_given(s.f, pass.k) {
            return;
        }
        if pass.ends_clip {
            clips.push(pass.features);
        }
    }
    let stored = s.f.stored("summed_codes");
    report.close_as("summed_codes@free", Tensor::cat(clips, 2), stored, SUMS);
}

/// The image or video that a run continues.
fn given(s: &Subject, plan: &Plan, report: &mut Report) {
    let f = s.f;
    if !f.has("cond_latent") {
        return;
    }
    let frames = f.float::<5>("cond_frames_u8") / 127.5 - 1.0;
    let draw = s.vae.encode(frames).with_noise(f.float("cond_eps"));
    report.close(f, "cond_latent", s.vae.latent(draw), LATENTS);
    let ours = given_bits(plan, s.config.bits, f.float("cond_latent"));
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
    let which = if f.has("frame_index") {
        f.sizes("frame_index")
    } else {
        (0..decoded.dims()[2]).collect()
    };
    for name in ["decoded_frames", "decoded"] {
        if f.has(name) {
            let ours = pick(decoded.clone(), &which);
            compare_pixels(name, ours, f.float(name), false, report);
        }
    }
    if f.has("frame_mean") {
        let [_, c, t, h, w] = decoded.dims();
        let flat = decoded.clone().swap_dims(1, 2).reshape([t, c * h * w]);
        let means = flat.mean_dim(1).reshape([t]);
        report.close(f, "frame_mean", means, pixel_tolerance(&decoded));
    }
    if f.has("frames_bgr_u8") {
        let shown = pick(without_soft_start(decoded), &which);
        report.bytes(f, "frames_bgr_u8", &bgr(shown), BYTES_OFF);
    }
}

/// `[1, 3, t, h, w]` as the released code returns it: `[1, t, h, w, 3]` in BGR order.
pub fn bgr(frames: Tensor<5>) -> Stored {
    let [_, _, t, h, w] = frames.dims();
    let bytes = rgb_bytes(frames.flip([1]));
    Stored {
        dims: vec![1, t, h, w, 3],
        values: bytes.into_iter().map(f64::from).collect(),
    }
}

/// Pixels `[1, 3, t, h, w]` in [-1, 1] to RGB bytes, frame by frame, rounded towards zero as in the released code.
fn rgb_bytes(frames: Tensor<5>) -> Vec<u8> {
    let [b, c, _, _, _] = frames.dims();
    assert_eq!([b, c], [1, 3], "one clip of three colours");
    let x = ((frames + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0;
    let x = x.permute([0, 2, 3, 4, 1]).into_data().convert::<f32>();
    x.iter::<f32>().map(|value| value as u8).collect()
}

/// The first chunk of a clip, `[b, c, t, h, w]`, with its first frame replaced by the second, which is sharper, as in the
/// released code.
fn without_soft_start(frames: Tensor<5>) -> Tensor<5> {
    let [_, _, t, _, _] = frames.dims();
    if t < 2 {
        return frames;
    }
    let second = frames.clone().slice_dim(2, 1..2);
    Tensor::cat(vec![second, frames.slice_dim(2, 1..t)], 2)
}
