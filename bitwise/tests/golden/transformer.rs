//! Text, positions and teacher forcing.

use burn::tensor::Device;
use nextscale_bitwise::import::load_infinity;
use nextscale_bitwise::infinity::State;
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate};
use nextscale_var_core::rope::grid_positions;
use nextscale_weights::WeightFile;

use super::fixture::{Fixture, NAMES, close, root};

#[test]
fn text_and_positions() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        let text = f.text("text");
        let normed = f.compact(f.model.normed_text(&text), &text.lens);
        close("text_normed", normed, f.float("text_normed"), 5e-5);
        let state = f.model.encode_text(&text);
        close("cond_BD", state.cond, f.float("cond_BD"), 5e-5);
        let kv = f.compact(state.kv, &text.lens);
        close("ca_kv", kv, f.float("ca_kv"), 5e-5);
        close("gss", state.modulation, f.float("gss"), 5e-5);
        let plan = f.teacher();
        let (cos, sin) = plan.rope().pairs();
        let theirs = f.float::<3>("rope_cos_sin");
        let [_, l, half] = theirs.dims();
        let row = |i: usize| theirs.clone().slice_dim(0, i..i + 1).reshape([l, half]);
        close("cos", cos, row(0), 1e-5);
        close("sin", sin, row(1), 1e-5);
    }
}

#[test]
fn teacher_forced_logits() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        let logits = f
            .model
            .forward(f.float("tf_input"), &f.text("text"), &f.teacher());
        close("tf_logits", logits, f.float("tf_logits"), 1e-4);
    }
}

#[test]
fn cached_logits_are_teacher_forced_logits() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        let (inputs, theirs) = (f.float::<3>("tf_input"), f.float::<3>("tf_logits"));
        let plan = f.stepwise();
        let mut state: State = f.model.start(&f.text("text"), &plan);
        let offsets = f.schedule.offsets();
        for k in 0..f.schedule.len() {
            let input = (k > 0).then(|| {
                let rows = offsets[k] - 1..offsets[k + 1] - 1;
                inputs.clone().slice_dim(1, rows)
            });
            let ours = f.model.forward_scale(k, input, &mut state, &plan, None);
            let rows = theirs.clone().slice_dim(1, offsets[k]..offsets[k + 1]);
            close(&format!("scale {k}"), ours, rows, 1e-4);
        }
    }
}

#[test]
fn positions_of_every_aspect_ratio() {
    let Some(root) = root() else { return };
    let ops = WeightFile::open(&root.join("ops-dev/io.safetensors")).unwrap();
    let names: Vec<String> = ops.names().map(str::to_owned).collect();
    let tables = names.iter().filter(|n| n.starts_with("rope_rowcol_"));
    let mut seen = 0;
    for name in tables {
        let ratio = name.trim_start_matches("rope_rowcol_");
        let ratio: f64 = ratio.parse().unwrap();
        let schedule = RatioTemplate::nearest(ratio).schedule(PixelBudget::M1);
        let theirs: Vec<f32> = ops.read(name).unwrap().convert::<f32>().iter().collect();
        let ours = grid_positions(&schedule, schedule.last());
        assert!(ours.as_flattened() == theirs, "{name}");
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn pytorch_files_hold_the_same_model() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        let path = root.join(name).join("weights.pth");
        let model = load_infinity(&f.config, &path, &Device::flex()).unwrap();
        let (plan, text) = (f.teacher(), f.text("text"));
        let [ours, theirs] =
            [&model, &f.model].map(|m| m.forward(f.float("tf_input"), &text, &plan));
        close("logits of the .pth", ours, theirs, 0.0);
    }
}
