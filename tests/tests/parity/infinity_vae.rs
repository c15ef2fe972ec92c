//! Infinity's tokenizer: encoder, bits scale by scale, decoder.

use std::path::Path;

use burn::tensor::{Int, Tensor};
use nextscale_bitwise::tokens::Patching;
use nextscale_bitwise::vae::{BsqVae, BsqVaeConfig};
use nextscale_tests::{Agreement, Fixture, Gaps, Report, Stored};
use nextscale_tokenizer::{Codes, Pyramid, Quantizer, Resize, ScaleSchedule, patchify};
use nextscale_weights::WeightDtype;

use crate::infinity::{patching, schedule, size_of};
use crate::weights::{check_resaved, check_twin, official};

const FEATURES: f64 = 5e-5;
const CODES: f64 = 1e-6;
const SUMS: f64 = 1e-5;
const IMAGE: f64 = 3e-4;
/// A bit of a number closer to zero than this is undecided.
const MARGIN: f64 = 1e-4;

fn config(f: &Fixture) -> BsqVaeConfig {
    let blocks = f.number("num_res_blocks");
    BsqVaeConfig {
        bits: size_of(f, "z", 1, "codebook_dim"),
        base_channels: f.number("base_ch"),
        encoder_mult: f.numbers("encoder_ch_mult"),
        decoder_mult: f.numbers("decoder_ch_mult"),
        encoder_blocks: blocks,
        decoder_blocks: blocks + 1,
        norm_groups: None,
        pixel_patch: 1,
    }
}

fn load_from(f: &Fixture, path: &Path) -> BsqVae {
    let vae = config(f).init(&f.device).load(path);
    vae.unwrap_or_else(|e| panic!("{e}"))
}

/// The auto-encoder of a fixture.
pub fn load(f: &Fixture) -> BsqVae {
    load_from(f, &official(f))
}

pub fn check(f: &Fixture, report: &mut Report) {
    let vae = load(f);
    let schedule = schedule(&f.config["vae_scale_schedule"]);
    report.part("z", |report| encoder(f, &vae, report));
    report.part("bits", |report| quantizer(f, &vae, &schedule, report));
    report.part("codes", |report| codes(f, &vae, &schedule, report));
    report.part("recon", |report| decoder(f, &vae, &schedule, report));
    report.part("chain", |report| chain(f, &vae, &schedule, report));
    check_twin(f, &vae, |path| load_from(f, path), report);
    let save = |path: &Path| vae.save(path, WeightDtype::F32);
    check_resaved(f, save, |key| key.ends_with("lfq.mask"), report);
    report.part("f16", |report| half(f, &vae, report));
    if f.has("lfq_mask") {
        report.part("lfq_mask", |report| mask(f, vae.quantizer().dim, report));
    }
}

/// The weights of the bits in an integer label, the first bit highest: a constant that the bits do not need.
fn mask(f: &Fixture, bits: usize, report: &mut Report) {
    let weight = |bit: usize| 1_i64.wrapping_shl(bit as u32) as f64;
    let ours = Stored {
        dims: vec![bits],
        values: (0..bits).rev().map(weight).collect(),
    };
    report.numbers("lfq_mask", &ours, f.stored("lfq_mask"), 0.0);
}

/// Weights in 16 bits: a smaller file with nearly the same latent.
fn half(f: &Fixture, vae: &BsqVae, report: &mut Report) {
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let path = dir.path().join("f16.safetensors");
    vae.save(&path, WeightDtype::F16)
        .unwrap_or_else(|e| panic!("{e}"));
    let image = image(f).slice_dim(2, 0..64).slice_dim(3, 0..64);
    let off = load_from(f, &path).encode(image.clone()) - vae.encode(image);
    let zeros = Stored {
        dims: off.dims().to_vec(),
        values: vec![0.0; off.dims().iter().product()],
    };
    report.close_as("z@f16", off, &zeros, 2e-2);
    let size = |path: &Path| std::fs::metadata(path).expect("a file").len();
    let official = size(&official(f));
    assert!(size(&path) < official * 6 / 10, "{} bytes", size(&path));
}

fn image(f: &Fixture) -> Tensor<4> {
    f.float::<4>("image_u8") / 127.5 - 1.0
}

fn encoder(f: &Fixture, vae: &BsqVae, report: &mut Report) {
    let image = image(f);
    report.close(f, "z", vae.encode(image).squeeze_dim::<4>(2), FEATURES);
}

/// The stored bits of scale `k`, `[b, d, t, h, w]`.
fn bits(f: &Fixture, k: usize) -> Tensor<5, Int> {
    f.int::<5>(&format!("bits_{k}")).permute([0, 4, 1, 2, 3])
}

/// From the stored latent, scale by scale on the stored bits, so that each scale is judged by itself.
fn quantizer(f: &Fixture, vae: &BsqVae, schedule: &ScaleSchedule, report: &mut Report) {
    let bsq = vae.quantizer();
    let latent = f.float::<4>("z").unsqueeze_dim(2);
    let sum = Pyramid::plain(&bsq).descend(latent, schedule, |k, cells| {
        let Codes::Bits(ours) = bsq.quantize(cells.clone()) else {
            panic!("not bits");
        };
        let gaps = gaps(cells.clone());
        let name = format!("bits_{k}");
        report.bits(f, &name, ours.clone().permute([0, 2, 3, 4, 1]), Some(&gaps));
        let name = format!("lfq_in_{k}");
        if f.has(&name) {
            report.close(f, &name, cells, FEATURES);
        }
        let name = format!("lfq_out_{k}");
        if f.has(&name) {
            report.close(f, &name, bsq.embed(&Codes::Bits(ours)), CODES);
            let stored = f.float::<5>(&format!("lfq_in_{k}"));
            let own = ScaleSchedule::new(vec![schedule.scales()[k]]).expect("a schedule");
            let trained = bsq
                .quantize_straight_through(stored.clone(), &own, 1)
                .latent;
            report.close_as(&format!("{name}@train"), trained, f.stored(&name), CODES);
            let ours = bsq.quantize(stored).bits().expect("bits");
            let bits = f.stored(&format!("bits_{k}"));
            let name = format!("bits_{k}@lfq_in");
            report.bits_as(&name, ours.permute([0, 2, 3, 4, 1]), bits, None);
        }
        bsq.embed(&Codes::Bits(bits(f, k)))
    });
    report.close(f, "z_quant", sum.squeeze_dim::<4>(2), SUMS);
}

/// From the image to the image, all on our own numbers; an undecided bit that fell the other way ends the comparison.
fn chain(f: &Fixture, vae: &BsqVae, schedule: &ScaleSchedule, report: &mut Report) {
    let bsq = vae.quantizer();
    let mut same = true;
    let latent = vae.encode(image(f));
    let sum = Pyramid::plain(&bsq).descend(latent, schedule, |k, cells| {
        let codes = bsq.quantize(cells.clone());
        if same {
            let ours = codes.clone().bits().expect("bits").permute([0, 2, 3, 4, 1]);
            let stored = f.stored(&format!("bits_{k}"));
            let gaps = gaps(cells);
            let name = format!("bits_{k}@chain");
            same = report.bits_as(&name, ours, stored, Some(&gaps)) == Agreement::Same;
        }
        bsq.embed(&codes)
    });
    if same {
        let flat = sum.clone().squeeze_dim::<4>(2);
        report.close_as("z_quant@chain", flat, f.stored("z_quant"), SUMS);
        compare_image(f, &vae.decode(sum), "@chain", report);
    }
}

/// The distance of each bit's number from 0, at which the bit turns over.
fn gaps(cells: Tensor<5>) -> Gaps {
    let distance = cells.abs().permute([0, 2, 3, 4, 1]);
    let values = distance.into_data().convert::<f32>();
    Gaps {
        values: values.iter::<f64>().collect(),
        tie: MARGIN,
    }
}

/// What follows from the stored bits.
fn codes(f: &Fixture, vae: &BsqVae, schedule: &ScaleSchedule, report: &mut Report) {
    let bsq = vae.quantizer();
    let codes: Vec<Codes> = (0..schedule.len())
        .map(|k| Codes::Bits(bits(f, k)))
        .collect();
    for (k, codes) in codes.iter().enumerate() {
        let name = format!("codes_{k}");
        if f.has(&name) {
            report.close(f, &name, bsq.embed(codes), CODES);
        }
    }
    let mut pyramid = Pyramid::plain(&bsq);
    report.close(f, "summed_codes", pyramid.decode(&codes, schedule), SUMS);
    let name = "summed_codes_without_last2";
    if f.has(name) {
        let first = &codes[..codes.len() - 2];
        report.close(f, name, pyramid.decode(first, schedule), SUMS);
    }
    pyramid.input_down = Resize::Area;
    for (k, input) in pyramid.inputs(&codes, schedule).into_iter().enumerate() {
        let name = format!("area_next_input_{}", k + 1);
        if f.has(&name) {
            report.close(f, &name, input, SUMS);
        }
    }
    let name = "bits_last_patchified";
    if f.has(name) {
        assert_eq!(patching(f), Patching::Double);
        let coarse = patchify(bits(f, codes.len() - 1)).permute([0, 2, 3, 4, 1]);
        report.equal(f, name, coarse.squeeze_dim::<4>(1));
    }
}

fn decoder(f: &Fixture, vae: &BsqVae, schedule: &ScaleSchedule, report: &mut Report) {
    let codes: Vec<Codes> = (0..schedule.len())
        .map(|k| Codes::Bits(bits(f, k)))
        .collect();
    compare_image(f, &vae.decode_bits(&codes, schedule), "", report);
}

fn compare_image(f: &Fixture, image: &Tensor<4>, suffix: &str, report: &mut Report) {
    for name in f.names("recon") {
        let [h, w] = [f.dims(name)[2], f.dims(name)[3]];
        let corner = image.clone().slice_dim(2, 0..h).slice_dim(3, 0..w);
        report.close_as(&format!("{name}{suffix}"), corner, f.stored(name), IMAGE);
    }
}
