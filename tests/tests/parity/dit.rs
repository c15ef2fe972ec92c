//! The diffusion transformer of the comparators: a forward pass, and DDIM from noise.

use nextscale_comparators::dit::{
    DitConfig, DitPrediction, Process, SampleInput, load_dit, sample,
};
use nextscale_tests::{Fixture, Report};
use nextscale_var_core::matmul::Precision;

use crate::weights::official;

const PREDICTED: f64 = 5e-5;
const SAMPLED: f64 = 5e-4;

pub fn check(f: &Fixture, report: &mut Report) {
    let config = DitConfig {
        width: f.number("hidden_size"),
        depth: f.number("depth"),
        heads: f.number("num_heads"),
        classes: f.number("num_classes"),
        channels: f.number("in_channels"),
        side: f.number("input_size"),
        patch: f.number("patch_size"),
        prediction: DitPrediction::MeanAndVariance,
    };
    let model = load_dit(&config, &official(f), &f.device).unwrap_or_else(|e| panic!("{e}"));
    for input in ["x", "times", "labels", "noise", "ddim_labels"] {
        f.is_input(input);
    }
    let times: Vec<f32> = f.float::<1>("times").into_data().iter().collect();
    let predicted = model.forward(f.float("x"), &times, &f.sizes("labels"), Precision::F32);
    report.close(f, "predicted", predicted, PREDICTED);
    let input = SampleInput {
        labels: &f.sizes("ddim_labels"),
        noise: f.float("noise"),
        cfg: f.real("cfg"),
        process: Process::Ddpm,
        steps: f.number("steps"),
    };
    let last = sample(&model, input).last().expect("a step");
    report.close(f, "ddim", last, SAMPLED);
}
