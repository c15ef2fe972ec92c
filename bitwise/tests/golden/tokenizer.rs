//! The auto-encoder: latent, bits of every scale, sums, picture.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use nextscale_bitwise::{Bsq, BsqVae, BsqVaeConfig};
use nextscale_tokenizer::{Codes, Pyramid, Quantizer, Resize, Scale, ScaleSchedule, resize};
use nextscale_weights::{WeightDtype, WeightFile};
use serde_json::Value;

use crate::fixture::{close, root, schedule};

struct Vae {
    folder: PathBuf,
    config: BsqVaeConfig,
    model: BsqVae,
    schedule: ScaleSchedule,
    io: WeightFile,
}

fn load() -> Option<Vae> {
    let folder = root()?.join("infinity-vae-dev");
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let config = config(&json);
    let model = config.init(&Device::flex());
    Some(Vae {
        model: model.load(folder.join("weights.safetensors")).unwrap(),
        schedule: schedule(&json["vae_scale_schedule"]),
        io: WeightFile::open(&folder.join("io.safetensors")).unwrap(),
        config,
        folder,
    })
}

/// The released shapes with the fixture's widths.
fn config(json: &Value) -> BsqVaeConfig {
    let number = |key: &str| json[key].as_u64().unwrap() as usize;
    let list = |key: &str| -> Vec<usize> {
        let list = json[key].as_array().unwrap().iter();
        list.map(|v| v.as_u64().unwrap() as usize).collect()
    };
    BsqVaeConfig {
        base_channels: number("base_ch"),
        encoder_mult: list("encoder_ch_mult"),
        decoder_mult: list("decoder_ch_mult"),
        ..BsqVaeConfig::stride_16(number("codebook_dim"))
    }
}

impl Vae {
    fn float<const D: usize>(&self, name: &str) -> Tensor<D> {
        let data = self.io.read(name).unwrap();
        Tensor::from_data(data.convert::<f32>(), &Device::flex())
    }

    /// Bits `[b, d, 1, h, w]` of scale k.
    fn bits(&self, k: usize) -> Tensor<5, Int> {
        let data = self.io.read(&format!("bits_{k}")).unwrap();
        let bits = Tensor::<5, Int>::from_data(data.convert::<i32>(), &Device::flex());
        bits.permute([0, 4, 1, 2, 3])
    }

    fn codes(&self) -> Vec<Codes> {
        let bits = (0..self.schedule.len()).map(|k| Codes::Bits(self.bits(k)));
        bits.collect()
    }

    fn image(&self) -> Tensor<4> {
        self.float::<4>("image_u8") / 127.5 - 1.0
    }
}

fn same_bits(what: &str, ours: &Codes, theirs: Tensor<5, Int>) {
    let ours = ours.clone().bits().unwrap();
    let differ: i64 = ours.not_equal(theirs).int().sum().into_scalar();
    assert_eq!(differ, 0, "{what}: bits that differ");
}

#[test]
fn latent_bits_and_picture() {
    let Some(vae) = load() else { return };
    let z = vae.model.encode(vae.image());
    let theirs = vae.float::<4>("z").unsqueeze_dim(2);
    close("z", z.clone(), theirs, 5e-5);

    let bsq = vae.model.quantizer();
    let encoded = Pyramid::plain(&bsq).encode(z, &vae.schedule);
    for (k, codes) in encoded.codes.iter().enumerate() {
        same_bits(&format!("scale {k}"), codes, vae.bits(k));
    }
    let theirs = vae.float::<4>("z_quant").unsqueeze_dim(2);
    close("z_quant", encoded.sum.clone(), theirs, 1e-5);
    let recon = vae.model.decode(encoded.sum);
    close("recon", recon, vae.float("recon"), 3e-4);
}

#[test]
fn each_scale_alone() {
    let Some(vae) = load() else { return };
    let bsq = vae.model.quantizer();
    for k in [0, 1, 2, 3, 6] {
        let codes = bsq.quantize(vae.float(&format!("lfq_in_{k}")));
        same_bits(&format!("scale {k}"), &codes, vae.bits(k));
        let cells: Tensor<5> = vae.float(&format!("lfq_in_{k}"));
        let [_, _, _, h, w] = cells.dims();
        let own = ScaleSchedule::new(vec![Scale::image(h, w)]).unwrap();
        let trained = bsq.quantize_straight_through(cells, &own, 1);
        let out = vae.float(&format!("lfq_out_{k}"));
        close("codes in training form", trained.latent, out, 1e-6);
    }
    for k in 0..4 {
        let ours = bsq.embed(&Codes::Bits(vae.bits(k)));
        close("codes", ours, vae.float(&format!("codes_{k}")), 1e-6);
    }
}

#[test]
fn sums_from_bits() {
    let Some(vae) = load() else { return };
    let bsq = Bsq::new(vae.config.bits);
    let pyramid = Pyramid::plain(&bsq);
    let codes = vae.codes();
    let all = pyramid.decode(&codes, &vae.schedule);
    close("summed_codes", all, vae.float("summed_codes"), 1e-5);
    let some = pyramid.decode(&codes[..codes.len() - 2], &vae.schedule);
    let theirs = vae.float("summed_codes_without_last2");
    close("without the last two", some, theirs, 1e-5);
    let picture = vae.model.decode_bits(&codes, &vae.schedule);
    close("picture from bits", picture, vae.float("recon"), 3e-4);
    for k in 1..5 {
        // the tokenizer's own next inputs are averages; the transformer's are not
        let sum = pyramid.decode(&codes[..k], &vae.schedule);
        let input = resize(sum, vae.schedule.scales()[k], Resize::Area);
        let theirs = vae.float(&format!("area_next_input_{k}"));
        close("area input", input, theirs, 1e-5);
    }
}

#[test]
fn weights_in_every_form() {
    let Some(vae) = load() else { return };
    let image = vae.image().slice([0..1, 0..3, 0..64, 0..64]);
    let z = vae.model.encode(image.clone());
    let fresh = || vae.config.init(&Device::flex());
    let pth = fresh().load(vae.folder.join("weights.pth")).unwrap();
    assert_eq!(pth.encode(image.clone()).into_data(), z.clone().into_data());

    let folder = std::env::temp_dir().join(format!("nextscale-vae-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let f32s = folder.join("f32.safetensors");
    vae.model.save(&f32s, WeightDtype::F32).unwrap();
    let again = fresh().load(&f32s).unwrap();
    assert_eq!(
        again.encode(image.clone()).into_data(),
        z.clone().into_data()
    );
    same_names(&f32s, &vae.folder.join("weights.safetensors"));

    let f16s = folder.join("f16.safetensors");
    vae.model.save(&f16s, WeightDtype::F16).unwrap();
    let half = fresh().load(&f16s).unwrap();
    close("16 bits", half.encode(image), z, 2e-2);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&f16s) < size(&f32s) * 6 / 10);

    let wider = BsqVaeConfig {
        bits: 8,
        ..vae.config.clone()
    };
    let error = wider.init(&Device::flex()).load(&f32s).unwrap_err();
    assert!(error.to_string().contains("conv_out"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

fn same_names(ours: &Path, official: &Path) {
    let names = |path: &Path| -> Vec<String> {
        let file = WeightFile::open(path).unwrap();
        let names = file.names().filter(|n| !n.ends_with("lfq.mask"));
        names.map(str::to_owned).collect()
    };
    assert_eq!(names(ours), names(official));
}
