//! Teacher forcing from a latent, self-correction and the loss.

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::correction::encode_given;
use nextscale_bitwise::tokens::TeacherForcing;
use nextscale_bitwise::train::{loss, loss_per_token, margins};
use nextscale_tokenizer::Codes;
use nextscale_tokenizer::pyramid::{Encoded, Pyramid};
use nextscale_var_core::train::ScaleWeighting;

use super::fixture::{Fixture, NAMES, close, root};

/// Teacher forcing of the fixture's latent, with the bits of the first scales given.
fn teach(f: &Fixture, used: &[Codes]) -> TeacherForcing {
    let latent: Tensor<4> = f.float("raw_features");
    let quantizer = f.quantizer();
    let pyramid = Pyramid::plain(&quantizer);
    let (patching, schedule) = (f.patching(), f.patching().cells(&f.schedule));
    let encoded: Encoded = encode_given(&pyramid, latent.unsqueeze_dim(2), &schedule, used);
    TeacherForcing::new(&pyramid, &encoded, &schedule, patching)
}

fn same_bits(f: &Fixture, taught: &TeacherForcing, prefix: &str) {
    let all = (0..f.schedule.len()).map(|k| f.int::<3>(&format!("{prefix}_{k}")));
    let theirs = Tensor::cat(all.collect(), 1);
    let wrong = taught.bits.clone().not_equal(theirs).int().sum();
    assert_eq!(wrong.into_scalar::<i64>(), 0, "{prefix}");
}

#[test]
fn teacher_forcing_of_a_latent() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        let taught = teach(&f, &[]);
        same_bits(&f, &taught, "tf_gt_bits");
        close("tf_input", taught.inputs, f.float("tf_input"), 5e-5);
    }
}

#[test]
fn self_correction() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        let given = (0..f.schedule.len()).map(|k| format!("bsc_pred_bits_{k}"));
        let used: Vec<Codes> = given.filter(|n| f.has(n)).map(|n| f.codes(&n)).collect();
        let taught = teach(&f, &used);
        same_bits(&f, &taught, "bsc_gt_bits");
        let theirs: Tensor<3> = f.float("bsc_input_scale1to4");
        let rows = taught.inputs.slice_dim(1, 0..theirs.dims()[1]);
        close("bsc_input", rows, theirs, 5e-5);
    }
}

#[test]
fn losses() {
    let Some(root) = root() else { return };
    for name in NAMES {
        let f = Fixture::load(&root.join(name));
        let taught = teach(&f, &[]);
        let of_logits = loss_per_token(margins(f.float("tf_logits")), taught.bits.clone());
        close(
            "loss of their logits",
            of_logits,
            f.float("tf_loss_per_token"),
            1e-5,
        );
        let weights = ScaleWeighting::Uniform.weights(&f.schedule, &Device::flex());
        let ours = loss(&f.model, &taught, &f.text("text"), &f.teacher(), &weights);
        close(
            "tf_loss_per_token",
            ours.per_token,
            f.float("tf_loss_per_token"),
            1e-4,
        );
        close("tf_loss_mean", ours.loss, f.float("tf_loss_mean"), 1e-4);
    }
}
