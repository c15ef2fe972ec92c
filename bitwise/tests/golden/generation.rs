//! Greedy runs, scale by scale, and each scale alone.

use nextscale_bitwise::generate::{GenerateInput, GenerateOptions, generate};
use nextscale_bitwise::infinity::TextCondition;
use nextscale_var_core::guidance::{Guidance, GuidancePoint};
use nextscale_var_core::sampler::{Sampler, filter};
use serde_json::Value;

use super::fixture::{Fixture, NAMES, close, root};

fn numbers(json: &Value) -> Vec<f64> {
    let list = json.as_array().unwrap().iter();
    list.map(|x| x.as_f64().unwrap()).collect()
}

fn options(run: &Value) -> GenerateOptions {
    let point = |ins: f64| match ins {
        0.0 => GuidancePoint::Logits,
        _ => GuidancePoint::FromEnd(-ins as usize),
    };
    GenerateOptions {
        guidance: Guidance {
            weights: numbers(&run["cfg_list"]),
            points: numbers(&run["ins"]).into_iter().map(point).collect(),
        },
        temperature: numbers(&run["tau_list"]),
        forced: Vec::new(),
        keep: None,
    }
}

/// A greedy run against the stored one. A bit may differ only where the stored gap is tiny.
fn greedy(f: &Fixture, run: &str) {
    let settings = &f.json["runs"][run];
    let negative: Option<TextCondition> = settings["negative"]
        .as_bool()
        .unwrap()
        .then(|| f.text("neg"));
    let (plan, quantizer) = (f.stepwise(), f.quantizer());
    let input = GenerateInput {
        quantizer: &quantizer,
        plan: &plan,
        patching: f.patching(),
        text: f.text("text"),
        negative,
        options: options(settings),
        sampler: Sampler::greedy(),
    };
    let generation = generate(&f.model, input);
    let mut features = None;
    for step in generation {
        let k = step.k;
        let logits = format!("ar_{run}_logits_{k}");
        if f.has(&logits) {
            let [b, l, width] = step.logits.dims();
            let pairs = step.logits.reshape([b, l, width / 2, 2]);
            close(&logits, pairs, f.float(&logits), 3e-4);
        }
        let theirs = f.int::<3>(&format!("ar_{run}_bits_{k}"));
        let wrong = step.bits.not_equal(theirs).int().sum();
        assert_eq!(wrong.into_scalar::<i64>(), 0, "{run}: bits of scale {k}");
        let input = format!("ar_{run}_stage_input_{}", k + 1);
        if let Some(next) = step.next_input
            && f.has(&input)
        {
            close(&input, next, f.float(&input), 1e-5);
        }
        let cells = format!("ar_{run}_vae_bits_{k}");
        if f.has(&cells) {
            let ours = step.codes.bits().unwrap();
            let wrong = ours.not_equal(f.codes(&cells).bits().unwrap()).int().sum();
            assert_eq!(wrong.into_scalar::<i64>(), 0, "{cells}");
        }
        features = Some(step.features);
    }
    let summed = format!("ar_{run}_summed_codes");
    if f.has(&summed) {
        let ours = features.unwrap().squeeze_dim::<4>(2);
        close(&summed, ours, f.float(&summed), 1e-5);
    }
}

#[test]
fn greedy_runs() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        for run in ["cfg", "vary", "nocfg", "neg"] {
            eprintln!("{name} {run}");
            greedy(&f, run);
        }
    }
}

#[test]
fn forced_scales_are_kept() {
    let Some(root) = root() else { return };
    let f = Fixture::load(&root.join(NAMES[0]));
    let run = "nocfg";
    let scales = f.schedule.scales();
    let forced = (0..3).map(|k| {
        let bits = f.int::<3>(&format!("ar_{run}_bits_{k}"));
        f.patching().to_cells(bits, scales[k])
    });
    let mut options = options(&f.json["runs"][run]);
    options.forced = forced.collect();
    let (plan, quantizer) = (f.stepwise(), f.quantizer());
    let input = GenerateInput {
        quantizer: &quantizer,
        plan: &plan,
        patching: f.patching(),
        text: f.text("text"),
        negative: None,
        options,
        sampler: Sampler::greedy(),
    };
    let steps = generate(&f.model, input);
    for step in steps {
        let theirs = f.int::<3>(&format!("ar_{run}_bits_{}", step.k));
        let wrong = step.bits.not_equal(theirs).int().sum();
        assert_eq!(wrong.into_scalar::<i64>(), 0, "scale {}", step.k);
    }
}

#[test]
fn filtered_logits() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        let settings = &f.json["filter"];
        let (k, p) = (
            settings["top_k"].as_u64().unwrap(),
            settings["top_p"].as_f64().unwrap(),
        );
        let scale = settings["scale"].as_u64().unwrap();
        let logits = f.float::<4>(&format!("ar_cfg_logits_{scale}"));
        let theirs = f.float::<4>(&format!("filter_logits_{scale}"));
        let [b, l, d, two] = logits.dims();
        let ours = filter(logits.reshape([b, l * d, two]), k as usize, p);
        let gone = |x: burn::tensor::Tensor<3>| x.lower_scalar(-1e30).int();
        let theirs = theirs.reshape([b, l * d, two]);
        let wrong = gone(ours).not_equal(gone(theirs)).int().sum();
        assert_eq!(wrong.into_scalar::<i64>(), 0);
    }
}
