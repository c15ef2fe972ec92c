//! `nextscale eval tokenizer`: reconstruction of pictures that training never saw, and use of the codes.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::vae::BsqVae;
use nextscale_tokenizer::pyramid::Encoded;
use nextscale_tokenizer::{Pyramid, ScaleSchedule, VqVae};
use serde::Serialize;

use crate::common::{Common, progress};
use crate::pixels;
use crate::usage::{self, ScaleReport, Usage};
use nextscale_data::{IconSet, captions::WHITE};
use nextscale_models::bundle::{DEFAULT, Model};

/// Arguments of `nextscale eval tokenizer`.
#[derive(Debug, clap::Args)]
pub struct TokenizerArgs {
    /// The model: `default` for the one inside this program, or a folder
    #[arg(long, value_name = "NAME|PATH", default_value = DEFAULT)]
    model: String,
    /// Use the pictures of the training set instead of the held-out ones
    #[arg(long)]
    seen: bool,
    /// Use at most so many pictures, evenly spread
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = crate::common::at_least_one())]
    count: usize,
    #[command(flatten)]
    common: Common,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    pictures: usize,
    held_out: bool,
    /// Of the mean squared error over all pictures, in dB.
    psnr: f64,
    /// The same without the quantiser: what the auto-encoder alone loses.
    psnr_without_bits: f64,
    /// Mean over pictures of their own ratio, in dB.
    psnr_of_a_picture: f64,
    /// By style, or by class.
    styles: BTreeMap<String, StyleReport>,
    /// How many codes of a codebook occur, of how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_codes: Option<(usize, usize)>,
    scales: Vec<ScaleReport>,
}

#[derive(Debug, Default, Serialize)]
struct StyleReport {
    pictures: usize,
    psnr: f64,
}

/// The auto-encoder of a model.
enum Tokenizer {
    Bits(Box<BsqVae>),
    Codes(Box<VqVae>),
}

impl Tokenizer {
    /// That of the model of a name, and its schedule for pictures of `side` pixels.
    fn load(name: &str, side: usize, device: &Device) -> anyhow::Result<(Self, ScaleSchedule)> {
        let paints_none =
            || anyhow::anyhow!("the model `{name}` does not paint {side}x{side} pixels");
        match Model::open(name)? {
            Model::Text(bundle) => {
                let manifest = bundle.manifest();
                let size = manifest.size(Some(side), Some(side));
                let size = size.map_err(|_| paints_none())?;
                let schedule = size.schedule().map_err(anyhow::Error::msg)?;
                let schedule = manifest.patching.cells(&schedule);
                Ok((Self::Bits(Box::new(bundle.vae(device)?)), schedule))
            }
            Model::Class(bundle) => {
                let manifest = bundle.manifest();
                anyhow::ensure!(manifest.size() == (side, side), paints_none());
                let schedule = manifest.transformer.schedule.clone();
                Ok((Self::Codes(Box::new(bundle.vae(device)?)), schedule))
            }
            Model::Video(_) => Err(paints_none()),
        }
    }

    fn usage(&self, scales: usize) -> Usage {
        match self {
            Self::Bits(vae) => Usage::bits(scales, vae.bits),
            Self::Codes(vae) => Usage::codes(scales, vae.codebook.vocabulary()),
        }
    }

    fn encode(&self, image: Tensor<4>) -> Tensor<5> {
        match self {
            Self::Bits(vae) => vae.encode(image),
            Self::Codes(vae) => vae.encode(image),
        }
    }

    fn quantise(&self, latent: Tensor<5>, schedule: &ScaleSchedule) -> Encoded {
        match self {
            Self::Bits(vae) => Pyramid::plain(&vae.quantizer()).encode(latent, schedule),
            Self::Codes(vae) => vae.pyramid().encode(latent, schedule),
        }
    }

    fn decode(&self, latent: Tensor<5>) -> Tensor<4> {
        match self {
            Self::Bits(vae) => vae.decode(latent),
            Self::Codes(vae) => vae.decode(latent),
        }
    }
}

/// Runs `nextscale eval tokenizer`.
///
/// # Errors
/// When the model or the data set can't be used.
pub fn run(args: &TokenizerArgs) -> anyhow::Result<()> {
    let (set, device) = args.common.open()?;
    let side = set.size();
    let (tokenizer, schedule) = Tokenizer::load(&args.model, side, &device)?;
    let ids = if args.seen {
        set.train_ids()
    } else {
        set.held_out_ids()
    };
    anyhow::ensure!(
        !ids.is_empty(),
        "{} has no such pictures",
        set.folder().display()
    );
    let count = args.count.min(ids.len());
    let ids: Vec<usize> = (0..count).map(|i| ids[i * ids.len() / count]).collect();
    let (report, pairs) = measure(
        &tokenizer,
        &schedule,
        &set,
        &ids,
        args.common.batch,
        &device,
    );
    let report = Report {
        held_out: !args.seen,
        ..report
    };
    print(&report);
    args.common.write(&report, &pairs, side)
}

/// Repaints the pictures; gives the report and up to 64 pairs of original and reconstruction.
fn measure(
    tokenizer: &Tokenizer,
    schedule: &ScaleSchedule,
    set: &IconSet,
    ids: &[usize],
    batch: usize,
    device: &Device,
) -> (Report, Vec<Vec<u8>>) {
    let mut usage = tokenizer.usage(schedule.len());
    let (mut errors, mut free, mut pairs) = (Vec::new(), 0.0, Vec::new());
    let bar = progress(ids.len());
    for chunk in ids.chunks(batch) {
        let originals: Vec<Vec<u8>> = chunk.iter().map(|&i| set.picture(i, WHITE)).collect();
        let image = pixels::to_tensor(&originals, set.size(), device);
        let latent = tokenizer.encode(image);
        let encoded = tokenizer.quantise(latent.clone(), schedule);
        usage.add(&encoded.codes);
        let plain = pixels::to_bytes(tokenizer.decode(latent));
        let painted = pixels::to_bytes(tokenizer.decode(encoded.sum));
        for ((original, painted), plain) in originals.iter().zip(&painted).zip(&plain) {
            errors.push(pixels::mse(original, painted));
            free += pixels::mse(original, plain);
            if pairs.len() < 128 {
                pairs.extend([original.clone(), painted.clone()]);
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let count = ids.len() as f64;
    let mut styles: BTreeMap<String, StyleReport> = BTreeMap::new();
    for (&i, error) in ids.iter().zip(&errors) {
        let entry = set.entry(i);
        let of = set.class(i).map_or(&entry.style, |_| &entry.name);
        let style = styles.entry(of.clone()).or_default();
        style.pictures += 1;
        style.psnr += error;
    }
    for style in styles.values_mut() {
        style.psnr = pixels::psnr(style.psnr / style.pictures as f64);
    }
    let report = Report {
        pictures: ids.len(),
        held_out: true,
        psnr: pixels::psnr(errors.iter().sum::<f64>() / count),
        psnr_without_bits: pixels::psnr(free / count),
        psnr_of_a_picture: errors.iter().map(|e| pixels::psnr(*e)).sum::<f64>() / count,
        styles,
        used_codes: usage.used(),
        scales: usage.report(schedule),
    };
    (report, pairs)
}

fn print(report: &Report) {
    let kind = if report.held_out {
        "held-out"
    } else {
        "training"
    };
    println!("{} {kind} pictures", report.pictures);
    println!("PSNR               {:6.2} dB", report.psnr);
    println!("  without bits     {:6.2} dB", report.psnr_without_bits);
    println!("  mean of pictures {:6.2} dB", report.psnr_of_a_picture);
    for (style, of) in &report.styles {
        println!("  {style:<10} {:>6}  {:6.2} dB", of.pictures, of.psnr);
    }
    if let Some((used, codes)) = report.used_codes {
        println!("codes that occur   {used:>6} of {codes}");
    }
    usage::print(&report.scales);
}
