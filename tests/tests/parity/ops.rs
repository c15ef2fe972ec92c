//! Resampling, patches, norms, positions and schedules.

use burn::module::Param;
use burn::nn::RmsNormConfig;
use burn::tensor::{Tensor, TensorData};
use nextscale_bitwise::infinity::{gelu, inverse_norm, normalize, silu};
use nextscale_tests::{Fixture, Report, Stored};
use nextscale_tokenizer::schedule::infinity::{PixelBudget, RatioTemplate, TEMPLATES};
use nextscale_tokenizer::{Resize, Scale, patchify, resize, unpatchify};
use nextscale_var_core::rope::grid_positions;
use serde_json::{Map, Value};

/// Four to sixteen products of numbers of size 1.
const RESAMPLED: f64 = 5e-6;
/// One norm or activation of numbers of size 1.
const ELEMENTWISE: f64 = 5e-6;

pub fn check(f: &Fixture, report: &mut Report) {
    report.part("square", |report| square(f, report));
    report.part("schedules of ratios", |report| of_ratios(f, report));
    report.part("patches", |report| patches(f, report));
    report.part("norms", |report| norms(f, report));
    report.part("rope_rowcol", |report| positions(f, report));
    report.part("schedules", |report| schedules(f, report));
}

/// The size of a stored `[b, c, t, h, w]`, or of an image `[b, c, h, w]`.
fn size(f: &Fixture, name: &str) -> Scale {
    match f.dims(name)[2..] {
        [h, w] => Scale::image(h, w),
        [t, h, w] => Scale::new(t, h, w),
        _ => panic!("{name} is not an image"),
    }
}

/// Tensors named `bicubic_1_to_16` and `area_16_to_1`.
fn square(f: &Fixture, report: &mut Report) {
    for (prefix, mode) in [("bicubic_", Resize::Bicubic), ("area_", Resize::Area)] {
        for name in f.names(prefix) {
            let from = name[prefix.len()..].split('_').next().unwrap_or_default();
            let source = match mode {
                Resize::Area => "full".to_owned(),
                _ => format!("small_{from}"),
            };
            let x = f.float::<4>(&source).unsqueeze_dim(2);
            let y = resize(x, size(f, name), mode).squeeze_dim::<4>(2);
            report.close(f, name, y, RESAMPLED);
        }
    }
}

/// Tensors named `r1p25_trilinear_up_3`, from `r1p25_small_3` or `r1p25_big`.
fn of_ratios(f: &Fixture, report: &mut Report) {
    let up = ("_trilinear_up_", Resize::Linear);
    let down = [
        ("_trilinear_down_", Resize::Linear),
        ("_area_down_", Resize::Area),
    ];
    for name in f.names("r") {
        if let Some((ratio, k)) = name.split_once(up.0) {
            let x = f.float::<5>(&format!("{ratio}_small_{k}"));
            report.close(f, name, resize(x, size(f, name), up.1), RESAMPLED);
        }
        for (middle, mode) in down {
            if let Some((ratio, _)) = name.split_once(middle) {
                let x = f.float::<5>(&format!("{ratio}_big"));
                report.close(f, name, resize(x, size(f, name), mode), RESAMPLED);
            }
        }
    }
}

fn patches(f: &Fixture, report: &mut Report) {
    let fine = unpatchify(f.float::<4>("ps_in").unsqueeze_dim(2));
    report.close(f, "pixel_shuffle2", fine.squeeze_dim::<4>(2), 0.0);
    let coarse = patchify(f.float::<4>("pu_in").unsqueeze_dim(2));
    report.close(f, "pixel_unshuffle2", coarse.squeeze_dim::<4>(2), 0.0);
}

fn norms(f: &Fixture, report: &mut Report) {
    let x = f.float::<2>("norm_in");
    let [n, c] = x.dims();
    let mut rms = RmsNormConfig::new(c).with_epsilon(1e-6).init(&f.device);
    rms.gamma = Param::from_tensor(f.float("norm_w"));
    report.close(f, "fast_rms_norm", rms.forward(x.clone()), ELEMENTWISE);
    report.close(f, "gelu_tanh", gelu(x.clone()), ELEMENTWISE);
    report.close(f, "silu", silu(x.clone()), ELEMENTWISE);
    let normed = normalize(x.clone().reshape([1, n, c])).reshape([n, c]);
    report.close(f, "layer_norm_no_affine", normed, ELEMENTWISE);
    let heads = x.clone().reshape([1, n, 1, c]);
    let unit = (heads.clone() * inverse_norm(heads)).reshape([n, c]);
    report.close(f, "l2_normalize", unit, ELEMENTWISE);
}

fn template(ratio: &str) -> &'static RatioTemplate {
    let ratio: f64 = ratio.parse().expect("a ratio");
    let found = TEMPLATES.iter().find(|t| (t.ratio - ratio).abs() < 1e-9);
    found.unwrap_or_else(|| panic!("no template of ratio {ratio}"))
}

/// Tensors named `rope_rowcol_1.25`: row and column of every token of the 1M schedule.
fn positions(f: &Fixture, report: &mut Report) {
    for name in f.names("rope_rowcol_") {
        let schedule = template(&name["rope_rowcol_".len()..]).schedule(PixelBudget::M1);
        let positions = grid_positions(&schedule, schedule.last());
        let flat: Vec<f32> = positions.iter().flatten().copied().collect();
        let ours = TensorData::new(flat, [positions.len(), 2]);
        report.close(f, name, Tensor::<2>::from_data(ours, &f.device), 0.0);
    }
}

/// `config.schedules`: ratio, then budget, to pixels and grids.
fn schedules(f: &Fixture, report: &mut Report) {
    let Some(ratios) = f.config["schedules"].as_object() else {
        return report.fail("schedules", "config.json has no schedules");
    };
    let tables = ratios.values().filter_map(Value::as_object).map(Map::len);
    let count = |n: usize| list(vec![n as f64]);
    let ours = count(TEMPLATES.len() * PixelBudget::ALL.len());
    report.numbers("schedules", &ours, &count(tables.sum()), 0.0);
    for (ratio, budgets) in ratios {
        let template = template(ratio);
        for (budget, stored) in budgets.as_object().into_iter().flatten() {
            let known = PixelBudget::ALL.into_iter().find(|b| b.name() == budget);
            let known = known.expect("a known budget");
            let (h, w) = template.pixels(known);
            let schedule = template.schedule(known);
            let grids = schedule.scales().iter().flat_map(|s| [s.h, s.w]);
            let ours: Vec<f64> = [h, w].into_iter().chain(grids).map(|x| x as f64).collect();
            let mut theirs = Vec::new();
            flatten(&stored["pixel"], &mut theirs);
            flatten(&stored["hw"], &mut theirs);
            let name = format!("schedule_{ratio}_{budget}");
            report.numbers(&name, &list(ours), &list(theirs), 0.0);
        }
    }
}

fn list(values: Vec<f64>) -> Stored {
    Stored {
        dims: vec![values.len()],
        values,
    }
}

fn flatten(json: &Value, to: &mut Vec<f64>) {
    match json {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, to)),
        other => to.push(other.as_f64().expect("a number")),
    }
}
