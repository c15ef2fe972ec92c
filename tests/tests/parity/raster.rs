//! The raster transformer of the comparators: teacher forcing, loss, a greedy run.

use burn::tensor::Tensor;
use nextscale_comparators::raster::{
    GenerateInput, RasterCache, RasterConfig, generate, load_raster, loss,
};
use nextscale_tests::{Fixture, Report};
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::sampler::Sampler;

use crate::weights::official;

const LOGITS: f64 = 1e-4;
const LOSS: f64 = 1e-5;

pub fn check(f: &Fixture, report: &mut Report) {
    let side = f.number("side");
    let config = RasterConfig {
        width: f.number("dim"),
        depth: f.number("n_layer"),
        heads: f.number("n_head"),
        classes: f.number("num_classes"),
        vocabulary: f.number("vocab_size"),
        grid: [side, side],
        multiple_of: f.number("multiple_of"),
    };
    let model = load_raster(&config, &official(f), &f.device).unwrap_or_else(|e| panic!("{e}"));
    let codes = f.int::<2>("codes");
    let labels = f.sizes("labels");
    f.is_input("codes");
    f.is_input("labels");
    let logits = model.forward(codes.clone(), &labels, Precision::F32);
    report.close(f, "logits", logits, LOGITS);
    let losses = loss(&model, codes, &labels, Precision::F32);
    report.close(f, "loss", losses.loss, LOSS);
    f.is_input("ar_labels");
    for cache in [RasterCache::Kept, RasterCache::Recomputed] {
        let input = GenerateInput {
            labels: &f.sizes("ar_labels"),
            cfg: f.real("cfg"),
            sampler: Sampler::greedy(),
            cache,
        };
        let drawn = Tensor::cat(generate(&model, input).collect(), 1);
        report.equal(f, "ar_codes", drawn);
    }
}
