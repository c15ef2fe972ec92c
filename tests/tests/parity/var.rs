//! The VAR transformer: teacher forcing, loss, greedy runs.

use std::path::Path;

use burn::tensor::Tensor;
use nextscale_tests::{Fixture, Report};
use nextscale_tokenizer::{Codes, ScaleSchedule, VqVae};
use nextscale_var_core::attention::AttentionKind;
use nextscale_var_core::sampler::{Sampler, filter};
use nextscale_var_core::var::{GenerateInput, GenerateOptions, Step, generate};
use nextscale_var_core::var::{Modulation, Plan, Var, VarConfig};
use nextscale_var_core::var::{TeacherForcing, loss};
use nextscale_var_core::var::{load_var, save_var};
use nextscale_weights::WeightDtype;

use crate::var_vqvae;
use crate::weights::{check_resaved, check_twin, official};

const LOGITS: f64 = 1e-4;
const GUIDED: f64 = 3e-4;
const SUMS: f64 = 2e-5;
const IMAGE: f64 = 3e-4;

struct Subject<'a> {
    f: &'a Fixture,
    model: Var,
    config: VarConfig,
    vae: VqVae,
    labels: Vec<usize>,
}

fn config(f: &Fixture) -> VarConfig {
    let flag = |key: &str| f.config[key].as_bool().expect("a flag");
    VarConfig {
        width: f.number("embed_dim"),
        depth: f.number("depth"),
        heads: f.number("num_heads"),
        classes: f.number("num_classes"),
        vocabulary: f.number("vocab_size"),
        channels: f.number("Cvae"),
        schedule: var_vqvae::square(&f.numbers("patch_nums")),
        mlp_ratio: f.config["mlp_ratio"].as_f64().expect("a ratio"),
        modulation: if flag("shared_aln") {
            Modulation::Shared
        } else {
            Modulation::Own
        },
        attention: if flag("attn_l2_norm") {
            AttentionKind::Cosine
        } else {
            AttentionKind::Scaled
        },
    }
}

/// The tokenizer, from the fixture that the configuration names.
fn tokenizer(f: &Fixture) -> VqVae {
    let folder = f.config["vqvae"].as_str().expect("a folder");
    let fixture = Fixture::open(&f.dir.join(folder), &f.device);
    var_vqvae::load(&fixture.unwrap_or_else(|e| panic!("{e}")))
}

pub fn check(f: &Fixture, report: &mut Report) {
    let config = config(f);
    let load = |path: &Path| load_var(&config, path, &f.device).unwrap_or_else(|e| panic!("{e}"));
    let subject = Subject {
        f,
        model: load(&official(f)),
        vae: tokenizer(f),
        labels: f.sizes("labels"),
        config: config.clone(),
    };
    report.part("tf", |report| teacher_forcing(&subject, report));
    report.part("ar", |report| greedy(&subject, report));
    report.part("alone", |report| alone(&subject, report));
    report.part("filter", |report| filtered(&subject, report));
    check_twin(f, &subject.model, load, report);
    let save = |path: &Path| save_var(&config, &subject.model, path, WeightDtype::F32);
    check_resaved(f, save, |_| false, report);
}

impl Subject<'_> {
    fn schedule(&self) -> &ScaleSchedule {
        &self.config.schedule
    }

    fn codes(&self, prefix: &str) -> Vec<Codes> {
        let scales = self.schedule().scales().iter().enumerate();
        scales
            .map(|(k, &scale)| var_vqvae::codes(self.f, &format!("{prefix}_{k}"), scale))
            .collect()
    }
}

fn teacher_forcing(s: &Subject, report: &mut Report) {
    let codes = s.codes("tf_idx");
    let forcing = TeacherForcing::new(&s.vae.pyramid(), &codes, s.schedule());
    let inputs = forcing.inputs.clone();
    report.close(s.f, "tf_var_input", inputs.clone(), SUMS);

    let plan = Plan::teacher_forcing(&s.config, &s.f.device);
    let logits = s.model.forward(inputs.clone(), &s.labels, &plan);
    report.close(s.f, "tf_logits", logits, LOGITS);
    let none = vec![s.model.classes(); s.labels.len()];
    let unconditional = s.model.forward(inputs.clone(), &none, &plan);
    report.close(s.f, "tf_logits_uncond", unconditional, LOGITS);

    let l = s.schedule().tokens();
    let weights = Tensor::full([1, l], 1.0 / l as f64, &s.f.device);
    let loss = loss(&s.model, &forcing, &s.labels, &plan, &weights, 0.0);
    report.close(s.f, "tf_loss_per_token", loss.per_token, LOGITS);
    report.close(s.f, "tf_loss_mean", loss.loss, LOGITS);

    let plan = Plan::stepwise(&s.config, &s.f.device);
    let (mut state, offsets) = (s.model.start(&s.labels, &plan), s.schedule().offsets());
    let first = offsets[1];
    let logits = (0..s.schedule().len()).map(|k| {
        let rows = offsets[k].saturating_sub(first)..offsets[k + 1] - first;
        let input = (k > 0).then(|| inputs.clone().slice_dim(1, rows));
        s.model.forward_scale(k, input, &mut state, &plan)
    });
    let logits = Tensor::cat(logits.collect(), 1);
    report.close_as("tf_logits@cached", logits, s.f.stored("tf_logits"), LOGITS);
}

fn options(s: &Subject) -> GenerateOptions {
    let infer = &s.f.config["infer"];
    assert_ne!(
        infer["more_smooth"], true,
        "a run with Gumbel noise cannot be repeated"
    );
    let cfg = infer["cfg"].as_f64().expect("cfg");
    GenerateOptions::ramp(cfg, s.schedule().len())
}

fn run(s: &Subject, options: GenerateOptions) -> impl Iterator<Item = Step> {
    let input = GenerateInput {
        pyramid: s.vae.pyramid(),
        plan: &Plan::stepwise(&s.config, &s.f.device),
        labels: &s.labels,
        options,
        sampler: Sampler::greedy(),
    };
    generate(&s.model, input)
}

fn compare(s: &Subject, done: &Step, report: &mut Report, suffix: &str) {
    let k = done.k;
    let logits = s.f.stored(&format!("ar_logits_{k}"));
    let name = format!("ar_logits_{k}{suffix}");
    report.close_as(&name, done.logits.clone(), logits, GUIDED);
}

/// The whole run, each scale on what the scales before it gave.
fn greedy(s: &Subject, report: &mut Report) {
    for done in run(s, options(s)) {
        let k = done.k;
        compare(s, &done, report, "");
        let indices = done.codes.clone().indices().expect("indices");
        let [b, t, h, w] = indices.dims();
        report.equal(s.f, &format!("ar_idx_{k}"), indices.reshape([b, t * h * w]));
        if let Some(&next) = s.schedule().scales().get(k + 1) {
            let cells = s.vae.pyramid().input(done.features.clone(), next);
            let name = format!("ar_next_input_{}", k + 1);
            report.close(s.f, &name, cells.squeeze_dim::<4>(2), SUMS);
            continue;
        }
        report.close(s.f, "ar_logits_2B_last", done.unguided, GUIDED);
        let features = done.features.clone().squeeze_dim::<4>(2);
        report.close(s.f, "ar_fhat", features, SUMS);
        let image = (s.vae.decode(done.features) + 1.0) * 0.5;
        report.close(s.f, "ar_image", image, IMAGE);
    }
}

/// Each scale on the stored codes of the scales before it, so that it is judged by itself.
fn alone(s: &Subject, report: &mut Report) {
    let forced = s.codes("ar_idx").into_iter().map(|codes| codes.indices());
    let options = GenerateOptions {
        forced: forced.collect::<Option<Vec<_>>>().expect("indices"),
        keep: None,
        ..options(s)
    };
    for done in run(s, options) {
        compare(s, &done, report, "@alone");
    }
}

fn filtered(s: &Subject, report: &mut Report) {
    let settings = &s.f.config["filter"];
    let top_k = settings["top_k"].as_u64().expect("top_k") as usize;
    let top_p = settings["top_p"].as_f64().expect("top_p");
    for scale in settings["scales"].as_array().expect("scales") {
        let logits = s.f.float::<3>(&format!("ar_logits_{scale}"));
        let kept = filter(logits, top_k, top_p);
        report.close(s.f, &format!("filter_logits_{scale}"), kept, 0.0);
    }
}
