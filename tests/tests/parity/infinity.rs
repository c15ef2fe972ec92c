//! The Infinity transformer: text, positions, teacher forcing, self-correction, greedy runs.

use std::path::Path;

use burn::tensor::{Int, Tensor};
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::correction::encode_given;
use nextscale_bitwise::import::{load_infinity, save_infinity};
use nextscale_bitwise::infinity::{Infinity, InfinityConfig, Plan, TextCondition};
use nextscale_bitwise::tokens::{Patching, TeacherForcing};
use nextscale_bitwise::train::{loss, loss_per_token, margins};
use nextscale_tests::{Fixture, Report};
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use nextscale_tokenizer::{Codes, Pyramid, Scale, ScaleSchedule};
use nextscale_var_core::sampler::filter;
use nextscale_var_core::train::ScaleWeighting;
use nextscale_weights::WeightDtype;
use serde_json::Value;

use crate::runs;
use crate::weights::{check_resaved, check_twin, official};

// Tolerances that the description of the fixtures suggests.
const FEATURES: f64 = 5e-5;
pub const LOGITS: f64 = 1e-4;
/// Sums of a dozen resized codes.
pub const SUMS: f64 = 1e-5;
/// The error of logits of size 1 to 3 whose cross attention was rounded to bf16.
const BF16_LOGITS: f64 = 5e-2;

/// A fixture with its model.
pub struct Subject<'a> {
    pub f: &'a Fixture,
    pub model: Infinity,
    pub config: InfinityConfig,
    pub schedule: ScaleSchedule,
    pub patching: Patching,
    pub quantizer: Bsq,
    reference: Scale,
}

pub fn check(f: &Fixture, report: &mut Report) {
    let subject = Subject::open(f);
    for name in ["text_lens", "text_features", "neg_lens", "neg_features"] {
        f.is_input(name);
    }
    report.part("text", |report| text(&subject, report));
    report.part("tf", |report| teacher_forcing(&subject, report));
    report.part("bsc", |report| self_correction(&subject, report));
    report.part("filter", |report| filtered(&subject, report));
    runs::check(&subject, report);
    weights(&subject, report);
}

fn load(f: &Fixture, config: &InfinityConfig, path: &Path) -> Infinity {
    load_infinity(config, path, &f.device).unwrap_or_else(|e| panic!("{e}"))
}

/// The twin of the weights, and the weights as we write them.
pub fn weights(s: &Subject, report: &mut Report) {
    check_twin(s.f, &s.model, |path| load(s.f, &s.config, path), report);
    let save = |path: &Path| save_infinity(&s.config, &s.model, path, WeightDtype::F32);
    check_resaved(s.f, save, |_| false, report);
}

fn config(f: &Fixture) -> InfinityConfig {
    let config = InfinityConfig {
        width: f.number("embed_dim"),
        depth: f.number("depth"),
        heads: f.number("num_heads"),
        code_dim: size_of(f, "tf_input", 2, "codebook_dim"),
        text_channels: f.number("text_channels"),
        text_max_len: f.number("text_maxlen"),
        mlp_ratio: f.config["mlp_ratio"].as_f64().expect("an mlp ratio"),
        block_chunks: f.number("block_chunks"),
        levels: f.number("lvl_embed_rows"),
    };
    assert_eq!(config.ffn_hidden(), f.number("ffn_hidden"), "hidden units");
    assert_eq!(
        config.pool_heads(),
        f.number("text_pool_heads"),
        "pool heads"
    );
    config
}

/// The length of a stored tensor's axis, or, where it is not stored, a number of the configuration.
pub fn size_of(f: &Fixture, tensor: &str, axis: usize, key: &str) -> usize {
    if f.has(tensor) {
        f.dims(tensor)[axis]
    } else {
        f.number(key)
    }
}

pub fn patching(f: &Fixture) -> Patching {
    if f.flag("apply_spatial_patchify") {
        Patching::Double
    } else {
        Patching::Single
    }
}

/// A list of `[t, h, w]`.
pub fn schedule(json: &Value) -> ScaleSchedule {
    let scales = json.as_array().expect("a schedule").iter().map(|scale| {
        let side = |i: usize| scale[i].as_u64().expect("a side") as usize;
        Scale::new(side(0), side(1), side(2))
    });
    ScaleSchedule::new(scales.collect()).expect("a schedule")
}

/// The grid on which the released code measures positions: the last one of the 1M schedule.
fn reference(f: &Fixture) -> Scale {
    if f.config["reference_grid"].is_array() {
        let grid = f.numbers("reference_grid");
        return Scale::image(grid[0], grid[1]);
    }
    let ratio = f.config["h_div_w_template"].as_f64().expect("a ratio");
    let template = RatioTemplate::nearest(ratio);
    template.schedule(PixelBudget::M1).last()
}

impl<'a> Subject<'a> {
    /// The model of a fixture, with its settings.
    pub fn open(f: &'a Fixture) -> Self {
        let config = config(f);
        let subject = Subject {
            f,
            model: load(f, &config, &official(f)),
            schedule: schedule(&f.config["scale_schedule"]),
            patching: patching(f),
            quantizer: Bsq::new(size_of(f, "raw_features", 1, "vae_codebook_dim")),
            reference: reference(f),
            config,
        };
        let cells = subject.patching.cells(&subject.schedule);
        assert_eq!(cells, schedule(&f.config["vae_scale_schedule"]));
        subject
    }

    pub fn text(&self, prefix: &str) -> TextCondition {
        let lens = self.f.sizes(&format!("{prefix}_lens"));
        TextCondition::from_compact(self.f.float(&format!("{prefix}_features")), &lens)
    }

    pub fn stepwise(&self) -> Plan {
        let make = match self.source() {
            Some(_) => Plan::editing,
            None => Plan::stepwise,
        };
        make(&self.config, &self.schedule, self.reference, &self.f.device)
    }

    /// The latent of the image that is edited, if there is one.
    pub fn source(&self) -> Option<Tensor<5>> {
        let name = "source_features";
        self.f
            .has(name)
            .then(|| self.f.float::<4>(name).unsqueeze_dim(2))
    }

    pub fn teacher(&self) -> Plan {
        let make = match self.source() {
            Some(_) => Plan::editing_teacher_forcing,
            None => Plan::teacher_forcing,
        };
        make(&self.config, &self.schedule, self.reference, &self.f.device)
    }

    /// The names of a tensor at all scales at which it is stored.
    pub fn at_scales(&self, prefix: &str) -> Vec<(usize, String)> {
        let names = (0..self.schedule.len()).map(|k| (k, format!("{prefix}_{k}")));
        names.filter(|(_, name)| self.f.has(name)).collect()
    }

    /// Teacher forcing of the stored latent, with the bits of the first scales given.
    fn teach(&self, used: &[Codes]) -> TeacherForcing {
        let latent = self.f.float::<4>("raw_features").unsqueeze_dim(2);
        let pyramid = Pyramid::plain(&self.quantizer);
        let schedule = self.patching.cells(&self.schedule);
        let encoded = encode_given(&pyramid, latent, &schedule, used);
        TeacherForcing::new(&pyramid, &encoded, &schedule, self.patching)
    }

    /// Logits of all scales from given inputs, scale by scale.
    pub fn cached_logits(&self, inputs: &Tensor<3>) -> Tensor<3> {
        let (plan, offsets) = (self.stepwise(), self.schedule.offsets());
        let mut state = self.model.start(&self.text("text"), &plan);
        if let Some(source) = self.source() {
            let tokens = self.patching.to_tokens(source);
            self.model.read_source(tokens, &mut state, &plan);
        }
        let logits = (0..self.schedule.len()).map(|k| {
            let rows = |_| {
                inputs
                    .clone()
                    .slice_dim(1, offsets[k] - 1..offsets[k + 1] - 1)
            };
            let input = (k > 0).then_some(()).map(rows);
            self.model.forward_scale(k, input, &mut state, &plan, None)
        });
        Tensor::cat(logits.collect(), 1)
    }

    fn label_bits(&self, taught: &TeacherForcing, prefix: &str, report: &mut Report) {
        let offsets = self.schedule.offsets();
        for (k, name) in self.at_scales(prefix) {
            let ours: Tensor<3, Int> = taught.bits.clone();
            report.bits(
                self.f,
                &name,
                ours.slice_dim(1, offsets[k]..offsets[k + 1]),
                None,
            );
        }
    }
}

/// The rows of a padded tensor that prompts fill, one prompt after the other.
fn compact(padded: Tensor<3>, lens: &[usize]) -> Tensor<2> {
    let [_, _, c] = padded.dims();
    let rows = lens.iter().enumerate().map(|(i, &len)| {
        let prompt = padded.clone().slice([i..i + 1, 0..len, 0..c]);
        prompt.reshape([len, c])
    });
    Tensor::cat(rows.collect(), 0)
}

fn text(s: &Subject, report: &mut Report) {
    let text = s.text("text");
    if s.f.has("text_cu_seqlens") {
        let starts = (0..=text.lens.len()).map(|n| text.lens[..n].iter().sum::<usize>() as i32);
        let starts: Vec<i32> = starts.collect();
        let starts = Tensor::<1, Int>::from_ints(starts.as_slice(), &s.f.device);
        report.equal(s.f, "text_cu_seqlens", starts);
    }
    let normed = compact(s.model.normed_text(&text), &text.lens);
    report.close(s.f, "text_normed", normed, FEATURES);
    let state = s.model.encode_text(&text);
    report.close(s.f, "cond_BD", state.cond, FEATURES);
    report.close(s.f, "ca_kv", compact(state.kv, &text.lens), FEATURES);
    report.close(s.f, "gss", state.modulation, FEATURES);
    let (cos, sin) = s.stepwise().rope().pairs();
    let ours = Tensor::stack::<3>(vec![cos, sin], 0);
    report.close(s.f, "rope_cos_sin", ours, SUMS);
}

fn teacher_forcing(s: &Subject, report: &mut Report) {
    let taught = s.teach(&[]);
    s.label_bits(&taught, "tf_gt_bits", report);
    report.close(s.f, "tf_input", taught.inputs.clone(), SUMS);

    let (text, plan, inputs) = (s.text("text"), s.teacher(), s.f.float::<3>("tf_input"));
    let logits = s.model.forward(inputs.clone(), &text, &plan);
    report.close(s.f, "tf_logits", logits.clone(), LOGITS);
    for name in s.f.names("tf_logits_bf16_crossattn") {
        let first = logits.clone().slice_dim(1, 0..s.f.dims(name)[1]);
        report.close(s.f, name, first, BF16_LOGITS);
    }
    let weights = ScaleWeighting::Uniform.weights(&s.schedule, &s.f.device);
    let ours = loss(&s.model, &taught, &text, &plan, &weights);
    report.close(s.f, "tf_loss_per_token", ours.per_token, LOGITS);
    let of_stored = loss_per_token(margins(s.f.float("tf_logits")), taught.bits.clone());
    let stored = s.f.stored("tf_loss_per_token");
    report.close_as("tf_loss_per_token@logits", of_stored, stored, SUMS);
    report.close(s.f, "tf_loss_mean", ours.loss, LOGITS);

    let logits = s.cached_logits(&inputs);
    report.close_as("tf_logits@cached", logits, s.f.stored("tf_logits"), LOGITS);
}

fn self_correction(s: &Subject, report: &mut Report) {
    let given = s.at_scales("bsc_pred_bits");
    let used = given.iter().map(|(_, name)| {
        let bits = s.f.int::<5>(name);
        Codes::Bits(bits.permute([0, 4, 1, 2, 3]))
    });
    let mut used: Vec<Codes> = used.collect();
    if s.f.config["bsc"]["noise_apply_requant"] == 0 {
        used.clear(); // Flipped bits that are not requantised stay out of the sum.
    }
    let taught = s.teach(&used);
    s.label_bits(&taught, "bsc_gt_bits", report);
    for name in s.f.names("bsc_input") {
        let first = taught.inputs.clone().slice_dim(1, 0..s.f.dims(name)[1]);
        report.close(s.f, name, first, SUMS);
    }
}

fn filtered(s: &Subject, report: &mut Report) {
    let settings = &s.f.config["filter"];
    let scale = settings["scale"].as_u64().expect("a scale");
    let top_k = settings["top_k"].as_u64().expect("top_k") as usize;
    let top_p = settings["top_p"].as_f64().expect("top_p");
    let logits = s.f.float::<4>(&format!("ar_cfg_logits_{scale}"));
    let [b, l, d, two] = logits.dims();
    let kept = filter(logits.reshape([b, l * d, two]), top_k, top_p);
    let name = format!("filter_logits_{scale}");
    report.close(s.f, &name, kept.reshape([b, l, d, two]), 0.0);
}
