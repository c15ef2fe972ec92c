//! The kernels of a card, and models that run on them, against the same calculation on the CPU.

mod configs;
mod graphs;
mod kernels;
mod launches;
mod models;
mod teacher_forcing;

use burn::tensor::{DType, Device, Distribution, Tensor};
use nextscale_tests::Report;

/// Compares all of them.
pub(crate) fn check(report: &mut Report, card: &Device) {
    let cpu = Device::flex();
    report.part("rows", |report| kernels::rows(report, card, &cpu));
    report.part("heads", |report| kernels::heads(report, card, &cpu));
    report.part("attention", |report| kernels::attention(report, card, &cpu));
    report.part("product", |report| kernels::product(report, card, &cpu));
    report.part("sample", |report| kernels::sample(report, card, &cpu));
    report.part("infinity", |report| models::infinity(report, card, &cpu));
    report.part("var", |report| models::var(report, card, &cpu));
    report.part("teacher forcing", |report| {
        teacher_forcing::check(report, card, &cpu);
    });
    report.part("star", |report| models::star(report, card, &cpu));
    report.part("star with fewer tokens", |report| {
        models::star_with_fewer_tokens(report, card, &cpu);
    });
    report.part("decoder", |report| models::decoder(report, card, &cpu));
    report.part("vq decoder", |report| {
        models::vq_decoder(report, card, &cpu)
    });
    report.part("video decoder", |report| {
        models::video_decoder(report, card, &cpu)
    });
    report.part("bytes", |report| models::bytes(report, card, &cpu));
    report.part("launches", |report| launches::check(report, card));
    report.part("images", |report| models::images(report, card));
    report.part("graphs", |report| graphs::check(report, card, &cpu));
    report.part("resize", |report| kernels::resized(report, card, &cpu));
}

fn random<const D: usize>(shape: [usize; D], cpu: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), cpu)
}

/// Rounded to a type, in f32.
fn rounded<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    x.cast(dtype).cast(DType::F32)
}

/// The largest difference over the largest number.
fn off<const D: usize>(card: Tensor<D>, expected: Tensor<D>) -> f32 {
    let found = card.cast(DType::F32).to_device(&Device::flex());
    assert_eq!(found.dims(), expected.dims());
    let largest: f32 = expected.clone().abs().max().into_scalar();
    let off: f32 = (found - expected).abs().max().into_scalar();
    off / largest
}
