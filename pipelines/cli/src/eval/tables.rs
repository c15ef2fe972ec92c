//! The results of `nextscale eval` as text.

use nextscale_eval::usage::ScaleReport;
use nextscale_eval::{edits, fast, motion, recall, tokenizer};

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

pub(super) fn edits(report: &edits::Report) -> String {
    let (sampling, images) = (&report.sampling, report.images);
    let mut text = format!(
        "{}, guidance {}, temperature {}, seed {}\n{images} images, {:.1} candidates an edit: by chance {:.1} % are right\n",
        report.model,
        sampling.cfg,
        sampling.temperature,
        report.seed,
        report.candidates,
        100.0 / report.candidates.max(1.0)
    );
    text += "kind        edits   right  PSNR dB  of the auto-encoder\n";
    let kinds = report
        .kinds
        .iter()
        .map(|(kind, figures)| (kind.name(), figures));
    for (name, figures) in kinds.chain([("all", &report.all)]) {
        text += &format!(
            "{name:<11} {:>5} {:>6.1}% {:>8.2} {:>20.2}\n",
            figures.edits,
            figures.right * 100.0,
            figures.psnr,
            figures.best_psnr
        );
    }
    text
}

pub(super) fn fast(report: &fast::Report) -> String {
    match report {
        fast::Report::Images(report) => fast_images(report),
        fast::Report::Videos(report) => fast_videos(report),
    }
}

/// Shares of tokens, as the option takes them.
fn shares(shares: &[f64]) -> String {
    if shares.is_empty() {
        return "all".to_owned();
    }
    let shares: Vec<String> = shares.iter().map(ToString::to_string).collect();
    shares.join(",")
}

fn fast_videos(report: &fast::VideoReport) -> String {
    let [w, h] = report.size;
    let mut text = format!(
        "{}, {} videos of {w}x{h} and {} frames from seed {}\n",
        report.model, report.videos, report.frames, report.seed
    );
    text += "guided  tokens     repeats  converge  passes   s a video  ratio  memory MiB  PSNR dB    SSIM\n";
    let full = report.settings.first().map_or(1.0, |s| s.seconds);
    let or_all = |number: Option<usize>| number.map_or("all".to_owned(), |n| n.to_string());
    for setting in &report.settings {
        let converge = setting.converge.map_or("-".to_owned(), |s| s.to_string());
        let psnr = setting.psnr.map_or("-".to_owned(), |p| format!("{p:.2}"));
        text += &format!(
            "{:>6}  {:<9}  {:>7}  {converge:>8}  {:>6.1}  {:>10.3}  {:>5.2}  {:>10.0}  {psnr:>7}  {:>6.4}\n",
            or_all(setting.guidance_until),
            shares(&setting.keep_tokens),
            or_all(setting.repeats),
            setting.passes,
            setting.seconds,
            setting.seconds / full,
            setting.memory as f64 / f64::from(1 << 20),
            setting.ssim,
        );
    }
    text
}

fn fast_images(report: &fast::ImageReport) -> String {
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
        let tokens = shares(&setting.keep_tokens);
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
    if let Some(kept) = report.kept {
        text += &format!("the last frame, moved back, is like the first to {kept:.1} dB\n");
    }
    text
}
