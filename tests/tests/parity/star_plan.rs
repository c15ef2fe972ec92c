//! The passes of an InfinityStar video and their positions.

use burn::tensor::Tensor;
use nextscale_tests::{Fixture, Report, Stored};
use nextscale_var_core::rope::RopeTable;
use nextscale_video::CodeKind;
use nextscale_video::clips::{Layout, Pass, Plan};
use nextscale_video::infinity_star::text_positions;
use serde_json::Value;

use crate::star::Subject;

const TABLES: f64 = 1e-5;

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
        let rows = f.dims(name)[1];
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
        report.close(f, name, ours, TABLES);
    }
    text_table(s, report);
}

fn text_table(s: &Subject, report: &mut Report) {
    let (f, name) = (s.f, "rope.freqs_text");
    if f.has(name) {
        let rows = f.dims(name)[4];
        let table = s.model.rope(&text_positions(rows), &f.device);
        let [two, _, width] = pairs(&table, rows).dims();
        let ours = pairs(&table, rows).reshape([two, 1, 1, 1, rows, width]);
        report.close(f, name, ours, TABLES);
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
pub fn compare_plan(plan: &Plan, steps: &Value, grids: usize, report: &mut Report) {
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
