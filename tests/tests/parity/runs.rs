//! Greedy runs of Infinity, against the stored ones, and each scale alone.

use burn::tensor::Tensor;
use nextscale_bitwise::bsq::Bsq;
use nextscale_bitwise::generate::{GenerateInput, GenerateOptions, Generation, Step, generate};
use nextscale_bitwise::infinity::Plan;
use nextscale_tests::{Agreement, Fixture, Gaps, Report, Stored};
use nextscale_var_core::guidance::{Guidance, GuidancePoint};
use nextscale_var_core::sampler::Sampler;
use serde_json::Value;

use crate::infinity::Subject;
use crate::infinity_vae;

const LOGITS: f64 = 3e-4;
/// A bit whose logits are closer than this is undecided.
const TIE: f64 = 1e-4;
const INPUTS: f64 = 1e-5;
const IMAGE: f64 = 3e-4;
/// Bytes that may be off by one.
const BYTES_OFF: f64 = 1e-3;

pub fn check(s: &Subject, report: &mut Report) {
    let Some(runs) = s.f.config["runs"].as_object() else {
        return report.fail("runs", "config.json has no runs");
    };
    for (run, settings) in runs {
        report.part(&format!("ar_{run}"), |report| {
            let features = greedy(s, run, settings, report);
            report.part(&format!("ar_{run}_image"), |report| {
                image(s, run, features, report)
            });
        });
        report.part(&format!("forced_{run}"), |report| {
            forced(s, run, settings, report)
        });
        if s.f.has(&format!("ar_{run}_stage_input_1")) {
            let name = format!("alone_{run}");
            report.part(&name, |report| alone(s, run, settings, report));
        }
    }
}

fn numbers(json: &Value) -> Vec<f64> {
    let list = json.as_array().expect("a list").iter();
    list.map(|x| x.as_f64().expect("a number")).collect()
}

/// Settings of a run whose first `forced` scales take the stored bits.
fn options(s: &Subject, run: &str, settings: &Value, forced: usize) -> GenerateOptions {
    let point = |at: f64| {
        if at < 0.0 {
            GuidancePoint::FromEnd(-at as usize)
        } else {
            GuidancePoint::Logits
        }
    };
    let forced = (0..forced).map(|k| {
        let bits = s.f.int::<3>(&format!("ar_{run}_bits_{k}"));
        s.patching.to_cells(bits, s.schedule.scales()[k])
    });
    GenerateOptions {
        guidance: Guidance {
            weights: numbers(&settings["cfg_list"]),
            points: numbers(&settings["ins"]).into_iter().map(point).collect(),
        },
        temperature: numbers(&settings["tau_list"]),
        forced: forced.collect(),
        keep: None,
    }
}

fn start<'a>(
    s: &'a Subject,
    plan: &'a Plan,
    settings: &Value,
    options: GenerateOptions,
) -> Generation<'a, Bsq> {
    let negative = settings["negative"].as_bool().unwrap_or(false);
    let input = GenerateInput {
        quantizer: &s.quantizer,
        plan,
        patching: s.patching,
        text: s.text("text"),
        negative: negative.then(|| s.text("neg")),
        options,
        sampler: Sampler::greedy(),
    };
    let run = generate(&s.model, input);
    match s.source() {
        Some(source) => run.of_source(source),
        None => run,
    }
}

/// `[b, l, 2 D]` to pairs, `[b, l, D, 2]`.
fn pairs(logits: Tensor<3>) -> Tensor<4> {
    let [b, l, width] = logits.dims();
    logits.reshape([b, l, width / 2, 2])
}

/// The distance between the two logits of each bit: the stored ones where they are stored, else ours.
fn gaps(f: &Fixture, name: &str, ours: Tensor<3>) -> Gaps {
    let logits: Vec<f64> = if f.has(name) {
        f.stored(name).values.clone()
    } else {
        ours.into_data().convert::<f32>().iter::<f64>().collect()
    };
    let pairs = logits.as_chunks::<2>().0.iter();
    Gaps {
        values: pairs.map(|[zero, one]| (one - zero).abs()).collect(),
        tie: TIE,
    }
}

/// A free run. Where bits differ, a fresh run goes on from the stored ones, so that every scale is judged by itself.
/// Returns the last running sum.
fn greedy(s: &Subject, run: &str, settings: &Value, report: &mut Report) -> Tensor<5> {
    let plan = s.stepwise();
    let mut judged = 0;
    loop {
        let forced = judged;
        let mut features = None;
        for step in start(s, &plan, settings, options(s, run, settings, forced)) {
            if step.k >= judged {
                judged = step.k + 1;
                if compare(s, run, &step, report) != Agreement::Same {
                    features = None;
                    break;
                }
            }
            if step.k + 1 >= forced {
                follow(s, run, &step, report);
            }
            features = Some(step.features);
        }
        if let Some(features) = features {
            return features;
        }
    }
}

fn compare(s: &Subject, run: &str, step: &Step, report: &mut Report) -> Agreement {
    let (f, k) = (s.f, step.k);
    let logits = format!("ar_{run}_logits_{k}");
    if f.has(&logits) {
        report.close(f, &logits, pairs(step.logits.clone()), LOGITS);
    }
    let gaps = gaps(f, &logits, step.logits.clone());
    let bits = format!("ar_{run}_bits_{k}");
    report.bits(f, &bits, step.bits.clone(), Some(&gaps))
}

/// What follows from the bits.
fn follow(s: &Subject, run: &str, step: &Step, report: &mut Report) {
    let (f, k) = (s.f, step.k);
    let cells = format!("ar_{run}_vae_bits_{k}");
    if f.has(&cells) {
        let ours = step.codes.clone().bits().expect("bits");
        report.bits(f, &cells, ours.permute([0, 2, 3, 4, 1]), None);
    }
    let input = format!("ar_{run}_stage_input_{}", k + 1);
    if let Some(next) = step.next_input.clone()
        && f.has(&input)
    {
        report.close(f, &input, next, INPUTS);
    }
}

/// The second half of a run, on the stored bits of the first half.
fn forced(s: &Subject, run: &str, settings: &Value, report: &mut Report) {
    let plan = s.stepwise();
    let given = s.schedule.len() / 2;
    for step in start(s, &plan, settings, options(s, run, settings, given)) {
        let bits = format!("ar_{run}_bits_{}", step.k);
        let gaps = gaps(s.f, &format!("ar_{run}_logits_{}", step.k), step.logits);
        let (name, stored) = (format!("{bits}@forced"), s.f.stored(&bits));
        if report.bits_as(&name, step.bits, stored, Some(&gaps)) != Agreement::Same {
            return;
        }
    }
}

/// Each scale from the stored input, on stored bits.
fn alone(s: &Subject, run: &str, settings: &Value, report: &mut Report) {
    let plan = s.stepwise();
    let scales = s.schedule.len();
    let mut steps = start(s, &plan, settings, options(s, run, settings, scales));
    for k in 0..scales {
        if k > 0 {
            steps.set_input(s.f.float(&format!("ar_{run}_stage_input_{k}")));
        }
        let step = steps.next().expect("a scale");
        let logits = format!("ar_{run}_logits_{k}");
        if s.f.has(&logits) {
            let name = format!("{logits}@alone");
            report.close_as(
                &name,
                pairs(step.logits.clone()),
                s.f.stored(&logits),
                LOGITS,
            );
        }
        let gaps = gaps(s.f, &logits, step.logits.clone());
        let ours = Sampler::greedy().sample_bits(step.logits);
        let bits = format!("ar_{run}_bits_{k}");
        report.bits_as(
            &format!("{bits}@alone"),
            ours,
            s.f.stored(&bits),
            Some(&gaps),
        );
    }
}

/// What is stored of the running sum and of the decoded image.
fn image(s: &Subject, run: &str, features: Tensor<5>, report: &mut Report) {
    let summed = format!("ar_{run}_summed_codes");
    if s.f.has(&summed) {
        let theirs = s.f.stored(&summed);
        match theirs.dims.len() {
            5 => report.close_as(&summed, features.clone(), theirs, INPUTS),
            _ => {
                let flat = features.clone().squeeze_dim::<4>(2);
                report.close_as(&summed, flat, theirs, INPUTS);
            }
        }
    }
    let crop = format!("ar_{run}_image_first_crop");
    let bytes = format!("ar_{run}_image_bgr_u8_first");
    if !s.f.has(&crop) && !s.f.has(&bytes) {
        return;
    }
    let vae = s.f.config["vae"].as_str().expect("the folder of a VAE");
    let vae = Fixture::open(&s.f.dir.join(vae), &s.f.device).unwrap_or_else(|e| panic!("{e}"));
    let image = infinity_vae::load(&vae).decode(features.slice_dim(0, 0..1)); // [1, 3, h, w]
    if s.f.has(&crop) {
        let [h, w] = [s.f.dims(&crop)[2], s.f.dims(&crop)[3]];
        let ours = image.clone().slice([0..1, 0..3, 0..h, 0..w]);
        report.close(s.f, &crop, ours, IMAGE);
    }
    if s.f.has(&bytes) {
        report.bytes(s.f, &bytes, &bgr(image), BYTES_OFF);
    }
}

/// `[1, 3, h, w]` in [-1, 1] to bytes as the released code returns them: `[1, h, w, 3]` in BGR order, truncated.
fn bgr(image: Tensor<4>) -> Stored {
    let [_, _, h, w] = image.dims();
    let x = (image.flip([1]) + 1.0) / 2.0 * 255.0;
    let values = x.permute([0, 2, 3, 1]).into_data().convert::<f32>();
    Stored {
        dims: vec![1, h, w, 3],
        values: values.iter::<f64>().map(f64::trunc).collect(),
    }
}
