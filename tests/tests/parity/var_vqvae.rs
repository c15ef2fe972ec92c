//! VAR's tokenizer: encoder, codes scale by scale, decoder, training values.

use std::path::Path;

use burn::tensor::{Int, Tensor};
use nextscale_tests::{Fixture, Report};
use nextscale_tokenizer::{Codes, Quantizer, Scale, ScaleSchedule, VqVae, VqVaeConfig};
use nextscale_weights::WeightDtype;

use crate::weights::{check_resaved, check_twin, official};

const FEATURES: f64 = 5e-5;
const SUMS: f64 = 2e-5;
const IMAGE: f64 = 3e-4;

fn config(f: &Fixture) -> VqVaeConfig {
    let scales = f.numbers("v_patch_nums").len();
    let phis = match f.number("share_quant_resi") {
        0 => scales,
        shared => shared,
    };
    VqVaeConfig {
        vocabulary: f.number("vocab_size"),
        channels: f.number("z_channels"),
        base_channels: f.number("ch"),
        mult: f.numbers("ch_mult"),
        blocks: f.number("num_res_blocks"),
        phis,
        phi_ratio: f.config["quant_resi"].as_f64().expect("a ratio"),
        norm_groups: f.number("groupnorm_groups"),
    }
}

fn load_from(f: &Fixture, path: &Path) -> VqVae {
    let vae = config(f).init(&f.device).load(path);
    vae.unwrap_or_else(|e| panic!("{e}"))
}

/// The auto-encoder of a fixture.
pub fn load(f: &Fixture) -> VqVae {
    load_from(f, &official(f))
}

/// The square schedule of a list of sides.
pub fn square(sides: &[usize]) -> ScaleSchedule {
    ScaleSchedule::square(sides).expect("a schedule")
}

/// Stored indices `[b, h w]` on their grid.
pub fn codes(f: &Fixture, name: &str, scale: Scale) -> Codes {
    let indices = f.int::<2>(name);
    let [b, _] = indices.dims();
    Codes::Indices(indices.reshape([b, scale.t, scale.h, scale.w]))
}

/// Our indices as rows, `[b, h w]`.
fn rows(codes: &Codes) -> Tensor<2, Int> {
    let indices = codes.clone().indices().expect("indices");
    let [b, t, h, w] = indices.dims();
    indices.reshape([b, t * h * w])
}

pub fn check(f: &Fixture, report: &mut Report) {
    let vae = load(f);
    let schedule = square(&f.numbers("v_patch_nums"));
    let of = |k: usize| vae.phi.index(k, schedule.len());
    let phis: Vec<usize> = (0..schedule.len()).map(of).collect();
    if phis != f.numbers("phi_index_per_scale") {
        report.fail("phi_index_per_scale", &format!("{phis:?}"));
    }
    report.part("enc_out", |report| encoder(f, &vae, report));
    report.part("idx", |report| quantizer(f, &vae, &schedule, report));
    report.part("inputs", |report| inputs(f, &vae, &schedule, report));
    report.part("recon", |report| decoder(f, &vae, &schedule, report));
    report.part("custom", |report| custom(f, &vae, report));
    report.part("vq_train", |report| training(f, &vae, &schedule, report));
    check_twin(f, &vae, |path| load_from(f, path), report);
    let save = |path: &Path| vae.save(path, WeightDtype::F32);
    check_resaved(f, save, |key| key == "quantize.ema_vocab_hit_SV", report);
}

fn encoder(f: &Fixture, vae: &VqVae, report: &mut Report) {
    let image = f.float::<4>("image_u8") / 127.5 - 1.0;
    report.close(f, "enc_out", vae.encoder.forward(image.clone()), FEATURES);
    report.close(f, "f", vae.encode(image).squeeze_dim::<4>(2), FEATURES);
}

/// From the stored latent, scale by scale on the stored codes, so that each scale is judged by itself.
fn quantizer(f: &Fixture, vae: &VqVae, schedule: &ScaleSchedule, report: &mut Report) {
    let latent = f.float::<4>("f").unsqueeze_dim(2);
    let (mut k, mut sums) = (0, Vec::new());
    vae.pyramid().descend_observed(
        latent,
        schedule,
        |k, cells| {
            let name = format!("idx_{k}");
            report.equal(f, &name, rows(&vae.codebook.quantize(cells)));
            vae.codebook.embed(&codes(f, &name, schedule.scales()[k]))
        },
        |sum| {
            sums.push((format!("fhat_{k}"), sum.clone()));
            k += 1;
        },
    );
    for (name, sum) in sums {
        report.close(f, &name, sum.squeeze_dim::<4>(2), SUMS);
    }
}

fn stored_codes(f: &Fixture, schedule: &ScaleSchedule) -> Vec<Codes> {
    let scales = schedule.scales().iter().enumerate();
    scales
        .map(|(k, &scale)| codes(f, &format!("idx_{k}"), scale))
        .collect()
}

fn inputs(f: &Fixture, vae: &VqVae, schedule: &ScaleSchedule, report: &mut Report) {
    let inputs = vae.pyramid().inputs(&stored_codes(f, schedule), schedule);
    let mut tokens = Vec::new();
    for (k, input) in inputs.into_iter().enumerate() {
        let [b, c, _, h, w] = input.dims();
        let name = format!("next_input_{}", k + 1);
        report.close(f, &name, input.clone().squeeze_dim::<4>(2), SUMS);
        tokens.push(input.reshape([b, c, h * w]).swap_dims(1, 2));
    }
    report.close(f, "var_input", Tensor::cat(tokens, 1), SUMS);
}

fn decoder(f: &Fixture, vae: &VqVae, schedule: &ScaleSchedule, report: &mut Report) {
    let last = format!("fhat_{}", schedule.len() - 1);
    let latent = f.float::<4>(&last).unsqueeze_dim(2);
    report.close(f, "dec_raw", vae.reconstruct(latent), IMAGE);
    let image = vae.decode_codes(&stored_codes(f, schedule), schedule);
    report.close(f, "recon_from_idx", image, IMAGE);
}

fn custom(f: &Fixture, vae: &VqVae, report: &mut Report) {
    let Some(grids) = f.config["custom_patch_nums"].as_array() else {
        return;
    };
    let side = |grid: &serde_json::Value, i: usize| grid[i].as_u64().expect("a side") as usize;
    let scales = grids
        .iter()
        .map(|grid| Scale::image(side(grid, 0), side(grid, 1)));
    let schedule = ScaleSchedule::new(scales.collect()).expect("a schedule");
    let latent = f.float::<4>("f").unsqueeze_dim(2);
    let encoded = vae.pyramid().encode(latent, &schedule);
    for (k, codes) in encoded.codes.iter().enumerate() {
        report.equal(f, &format!("idx_custom_{k}"), rows(codes));
    }
}

fn training(f: &Fixture, vae: &VqVae, schedule: &ScaleSchedule, report: &mut Report) {
    let beta = f.config["beta"].as_f64().expect("beta");
    let latent = f.float::<4>("f").unsqueeze_dim(2);
    let quantised = vae.quantise(latent, schedule, beta);
    report.close(f, "vq_train_loss", quantised.loss, SUMS);
    let latent = quantised.latent.squeeze_dim::<4>(2);
    report.close(f, "vq_train_fhat", latent, SUMS);
}
