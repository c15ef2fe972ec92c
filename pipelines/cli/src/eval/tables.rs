//! The results of `nextscale eval` as text.

use nextscale_eval::usage::ScaleReport;
use nextscale_eval::{fast, motion, recall, tokenizer};

pub(super) fn tokenizer(report: &tokenizer::Report) -> String {
    let kind = if report.held_out {
        "held-out"
    } else {
        "training"
    };
    let mut text = format!("{} {kind} images\n", report.images);
    text += &format!("PSNR               {:6.2} dB\n", report.psnr);
    text += &format!("  without bits     {:6.2} dB\n", report.psnr_without_bits);
    text += &format!("  mean of images   {:6.2} dB\n", report.mean_image_psnr);
    for (style, figures) in &report.styles {
        let (count, psnr) = (figures.images, figures.psnr);
        text += &format!("  {style:<10} {count:>6}  {psnr:6.2} dB\n");
    }
    if let Some((used, codes)) = report.used_codes {
        text += &format!("codes that occur   {used:>6} of {codes}\n");
    }
    text + &scales(&report.scales)
}

/// One line per scale below a heading.
fn scales(scales: &[ScaleReport]) -> String {
    let heading = match scales.first() {
        Some(ScaleReport::Bits { .. }) => "scale    entropy of a bit   constant bits\n",
        _ => "scale    perplexity   codes that occur\n",
    };
    let line = |scale: &ScaleReport| match scale {
        ScaleReport::Bits {
            height,
            width,
            entropy,
            constant,
            bits,
        } => format!("{height:>2} x {width:<2}  {entropy:16.3}   {constant:>5} of {bits}\n"),
        ScaleReport::Codes {
            height,
            width,
            used,
            perplexity,
            codes,
        } => format!("{height:>2} x {width:<2}  {perplexity:10.1}   {used:>5} of {codes}\n"),
    };
    heading.to_owned() + &scales.iter().map(line).collect::<String>()
}

pub(super) fn recall(report: &recall::Report) -> String {
    let sampling = &report.sampling;
    let mut text = format!(
        "{}, guidance {}, temperature {}, seed {}\n",
        report.model, sampling.cfg, sampling.temperature, report.seed
    );
    text += "list      prompts  candidates  compared by   first  among 5  (chance)  median rank\n";
    for list in &report.lists {
        for (by, recall) in [("pixels", &list.pixels), ("features", &list.features)] {
            text += &format!(
                "{:<9} {:>7} {:>11}  {by:<11} {:>6.1}% {:>7.1}% {:>8.1}% {:>12}\n",
                list.list,
                list.prompts.len(),
                list.candidates,
                recall.first * 100.0,
                recall.among_5 * 100.0,
                list.chance * 100.0,
                recall.median_rank
            );
        }
    }
    text
}

pub(super) fn fast(report: &fast::Report) -> String {
    let [w, h] = report.size;
    let (model, images) = (&report.model, report.images);
    let mut text = format!(
        "{model}, {images} images of {w}x{h} from seed {}\n",
        report.seed
    );
    text += "scales  guided  tokens     cache   s an image  ratio  memory MiB  PSNR dB    SSIM  recall\n";
    let full = report
        .settings
        .first()
        .map_or(1.0, |setting| setting.seconds);
    for setting in &report.settings {
        let shares: Vec<String> = setting
            .keep_tokens
            .iter()
            .map(ToString::to_string)
            .collect();
        let tokens = if shares.is_empty() {
            "all".to_owned()
        } else {
            shares.join(",")
        };
        let cache = setting.cache_budget;
        let cache = cache.map_or("all".to_owned(), |share| format!("{:.0}%", share * 100.0));
        let psnr = setting
            .psnr
            .map_or("-".to_owned(), |psnr| format!("{psnr:.2}"));
        let recall = setting.recall.iter().flatten();
        let recall: Vec<String> = recall
            .map(|share| format!("{:.1}%", share * 100.0))
            .collect();
        text += &format!(
            "{:>6}  {:>6}  {tokens:<9}  {cache:<6}  {:>10.3}  {:>5.2}  {:>10.0}  {psnr:>7}  {:>6.4}  {}\n",
            setting.scales,
            setting.guidance_until,
            setting.seconds,
            setting.seconds / full,
            setting.memory as f64 / f64::from(1 << 20),
            setting.ssim,
            recall.join(" ")
        );
    }
    text += "codes changed by scale, %\n";
    for setting in report.settings.iter().skip(1) {
        let shares = setting
            .changed
            .iter()
            .map(|share| format!("{:5.1}", share * 100.0));
        text += &shares.collect::<Vec<_>>().join(" ");
        text += "\n";
    }
    text
}

pub(super) fn motion(report: &motion::Report) -> String {
    let mut text = format!(
        "{} of {} videos move as their prompt says ({:.1} %), {:.1} % are of the right kind\n",
        (report.right * report.prompts as f64).round(),
        report.prompts,
        100.0 * report.right,
        100.0 * report.right_kind
    );
    for (motion, [all, right]) in &report.motions {
        text += &format!("  {motion}: {right} of {all}\n");
    }
    text
}
