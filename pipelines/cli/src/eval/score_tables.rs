//! The results of `nextscale eval fid` and its relatives, and of the benchmarks, as text.

use nextscale_eval::benchmarks::BenchmarkReport;
use nextscale_eval::scores::{
    ClipReport, FidReport, ManifoldReport, PairsReport, ScoreReport, SetReport,
};

/// A set of images in a line.
fn set(label: &str, set: &SetReport) -> String {
    let count = set
        .count
        .map_or("statistics".to_owned(), |n| format!("{n} images"));
    format!("{label:<20} {} ({count})\n", set.name)
}

pub(super) fn fid(report: &FidReport) -> String {
    let mut text = format!("{:<20} {}\n", "features", report.features);
    text += &set("images", &report.images);
    if let Some(reference) = &report.reference {
        text += &set("reference", reference);
    }
    if let Some(fid) = report.fid {
        text += &format!("{:<20} {fid:.4}\n", "FID");
    }
    if let Some(sfid) = report.sfid {
        text += &format!("{:<20} {sfid:.4}\n", "sFID");
    }
    let warnings = report.warnings.iter();
    text + &warnings
        .map(|w| format!("warning: {w}\n"))
        .collect::<String>()
}

pub(super) fn inception_score(report: &ScoreReport) -> String {
    format!(
        "{:<20} {}\n{:<20} {} ({} images)\n{:<20} {:.4} +- {:.4} over {} parts\n",
        "features",
        report.features,
        "images",
        report.images,
        report.count,
        "Inception Score",
        report.inception_score,
        report.deviation,
        report.splits
    )
}

pub(super) fn precision_recall(report: &ManifoldReport) -> String {
    let mut text = format!("{:<20} {}\n", "features", report.features);
    text += &set("images", &report.images);
    text += &set("reference", &report.reference);
    text += &format!("{:<20} {:.4}\n", "precision", report.precision);
    text + &format!("{:<20} {:.4}\n", "recall", report.recall)
}

pub(super) fn clip_score(report: &ClipReport) -> String {
    let mut text = format!(
        "{:<20} {}\n{:<20} {} ({} images)\n{:<20} {:.4}\n{:<20} {:.4}\n",
        "features",
        report.features,
        "images",
        report.images,
        report.count,
        "CLIP score",
        report.clip_score,
        "CLIPScore of paper",
        report.clip_score_of_paper
    );
    if report.cut_prompts > 0 {
        let cut = report.cut_prompts;
        text += &format!("warning: {cut} prompts were cut, as CLIP reads 77 tokens at most\n");
    }
    text
}

pub(super) fn pairs(report: &PairsReport) -> String {
    let mut text = format!("{:<20} {}", "pairs", report.count);
    if report.identical > 0 {
        text += &format!(", {} of them identical, without PSNR", report.identical);
    }
    let psnr = report.psnr.map_or("-".to_owned(), |p| format!("{p:.4} dB"));
    text += &format!(
        "\n{:<20} {psnr}\n{:<20} {:.6}\n",
        "PSNR", "SSIM", report.ssim
    );
    if let (Some(lpips), Some(network)) = (report.lpips, report.network) {
        text += &format!("{:<20} {lpips:.6} with {network}\n", "LPIPS");
    }
    text
}

pub(super) fn benchmark(report: &BenchmarkReport) -> String {
    format!(
        "{}, {} prompts with {} results each: {} results, {} of them new\n",
        report.record.model,
        report.prompts,
        report.record.samples,
        report.results,
        report.generated
    )
}
