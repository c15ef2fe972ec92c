//! `nextscale eval tokenizer`: reconstruction of pictures that training never saw, and use of the bits.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use nextscale_bitwise::vae::BsqVae;
use nextscale_tokenizer::{Codes, ScaleSchedule};
use serde::Serialize;

use super::{Common, pixels, progress};
use crate::bundle::{Bundle, DEFAULT};
use crate::data::{IconSet, captions::WHITE};

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
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = super::at_least_one())]
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
    styles: BTreeMap<String, StyleReport>,
    scales: Vec<ScaleReport>,
}

#[derive(Debug, Default, Serialize)]
struct StyleReport {
    pictures: usize,
    psnr: f64,
}

/// How the bits of one scale are used.
#[derive(Debug, Serialize)]
struct ScaleReport {
    height: usize,
    width: usize,
    /// Mean entropy of a bit over all cells and pictures: 1 is an even coin, 0 a constant.
    entropy: f64,
    /// Bits that hardly ever (or nearly always) are 1: below 1 or above 99 per cent.
    constant: usize,
    bits: usize,
}

/// Ones and cells of each bit of each scale.
struct Usage {
    ones: Vec<Vec<f64>>,
    cells: Vec<f64>,
}

/// Runs `nextscale eval tokenizer`.
///
/// # Errors
/// When the model or the data set can't be used.
pub fn run(args: &TokenizerArgs) -> anyhow::Result<()> {
    let (set, device) = args.common.open()?;
    let bundle = Bundle::open(&args.model)?;
    let manifest = bundle.manifest();
    let side = set.size();
    let size = manifest.size(Some(side), Some(side)).map_err(|_| {
        anyhow::anyhow!(
            "the model `{}` does not paint {side}x{side} pixels",
            args.model
        )
    })?;
    let schedule = size.schedule().map_err(anyhow::Error::msg)?;
    let schedule = manifest.patching.cells(&schedule);
    let vae = bundle.vae(&device)?;
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
    let (report, pairs) = measure(&vae, &schedule, &set, &ids, args.common.batch, &device);
    let report = Report {
        held_out: !args.seen,
        ..report
    };
    print(&report);
    args.common.write(&report, &pairs, side)
}

/// Repaints the pictures; gives the report and up to 64 pairs of original and reconstruction.
fn measure(
    vae: &BsqVae,
    schedule: &ScaleSchedule,
    set: &IconSet,
    ids: &[usize],
    batch: usize,
    device: &Device,
) -> (Report, Vec<Vec<u8>>) {
    let mut usage = Usage {
        ones: vec![vec![0.0; vae.bits]; schedule.len()],
        cells: vec![0.0; schedule.len()],
    };
    let (mut errors, mut free, mut pairs) = (Vec::new(), 0.0, Vec::new());
    let bar = progress(ids.len());
    for chunk in ids.chunks(batch) {
        let originals: Vec<Vec<u8>> = chunk.iter().map(|&i| set.picture(i, WHITE)).collect();
        let image = pixels::to_tensor(&originals, set.size(), device);
        let encoded = vae.encode_bits(image.clone(), schedule);
        usage.add(&encoded.codes);
        let plain = pixels::to_bytes(vae.decode(vae.encode(image)));
        let painted = pixels::to_bytes(vae.decode(encoded.sum));
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
        let style = styles.entry(set.entry(i).style.clone()).or_default();
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
        scales: usage.report(schedule),
    };
    (report, pairs)
}

impl Usage {
    fn add(&mut self, codes: &[Codes]) {
        for (k, codes) in codes.iter().enumerate() {
            let Codes::Bits(bits) = codes else { continue };
            let [b, d, t, h, w] = bits.dims();
            let cells = b * t * h * w;
            let ones: Tensor<1> = bits
                .clone()
                .float()
                .swap_dims(0, 1)
                .reshape([d, cells])
                .sum_dim(1)
                .reshape([d]);
            let ones = ones.into_data().convert::<f32>();
            for (sum, ones) in self.ones[k].iter_mut().zip(ones.iter::<f32>()) {
                *sum += f64::from(ones);
            }
            self.cells[k] += cells as f64;
        }
    }

    fn report(&self, schedule: &ScaleSchedule) -> Vec<ScaleReport> {
        let scale = |(k, ones): (usize, &Vec<f64>)| {
            let share: Vec<f64> = ones.iter().map(|n| n / self.cells[k].max(1.0)).collect();
            ScaleReport {
                height: schedule.scales()[k].h,
                width: schedule.scales()[k].w,
                entropy: share.iter().map(|p| entropy(*p)).sum::<f64>() / share.len() as f64,
                constant: share.iter().filter(|p| !(0.01..=0.99).contains(*p)).count(),
                bits: share.len(),
            }
        };
        self.ones.iter().enumerate().map(scale).collect()
    }
}

/// Entropy in bits of a coin that shows 1 with probability `p`.
fn entropy(p: f64) -> f64 {
    let term = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    term(p) + term(1.0 - p)
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
        println!("  {style:<8} {:>6}  {:6.2} dB", of.pictures, of.psnr);
    }
    println!("scale    entropy of a bit   constant bits");
    for ScaleReport {
        height,
        width,
        entropy,
        constant,
        bits,
    } in &report.scales
    {
        println!("{height:>2} x {width:<2}  {entropy:16.3}   {constant:>5} of {bits}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn use_of_the_bits() {
        // Bit 0 is always 1, bit 1 is 1 in one cell of two.
        let bits = TensorData::new(vec![1, 1, 1, 0], [1, 2, 1, 1, 2]);
        let codes = Codes::Bits(Tensor::from_data(bits, &Device::flex()));
        let schedule = ScaleSchedule::new(vec![nextscale_tokenizer::Scale::image(1, 2)]).unwrap();
        let mut usage = Usage {
            ones: vec![vec![0.0; 2]],
            cells: vec![0.0],
        };
        usage.add(std::slice::from_ref(&codes));
        usage.add(&[codes]);
        let report = usage.report(&schedule);
        assert_eq!((report[0].constant, report[0].bits), (1, 2));
        assert!((report[0].entropy - 0.5).abs() < 1e-9);
        assert_eq!(usage.cells, [4.0]);
    }
}
