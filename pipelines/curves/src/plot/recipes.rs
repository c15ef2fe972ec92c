//! The panels of a page, by the names in the log.

use crate::log::Log;
use crate::options::PlotOptions;
use crate::plot::axis::Kind;
use crate::plot::colour::Paint;
use crate::plot::curve::Stroke;
use crate::plot::recipe::{Line, Recipe, Smooth, line, recipe, scale};
use crate::plot::scales::right_by_scale;

/// The panels in the order of the page.
pub(crate) fn recipes(logs: &[Log], options: &PlotOptions) -> Vec<Recipe> {
    vec![
        loss(options),
        right(logs),
        codebook(),
        psnr(),
        parts(),
        rate(),
    ]
}

fn loss(options: &PlotOptions) -> Recipe {
    let kind = if options.log_loss {
        Kind::Log
    } else {
        Kind::Linear
    };
    let lines = vec![
        line("loss", "training", Stroke::Solid, 0).smooth(Smooth::OverRaw),
        line("held_out_loss", "held out", Stroke::Marked, 1),
        line(
            "held_out_tail_loss",
            "held out, last scale",
            Stroke::Dashed,
            2,
        ),
    ];
    recipe("Loss", scale("loss", kind), None, lines)
}

fn right(logs: &[Log]) -> Recipe {
    if let Some(recipe) = right_by_scale(logs) {
        return recipe;
    }
    let lines = vec![
        line("right", "training", Stroke::Solid, 0).smooth(Smooth::OverRaw),
        line("held_out_right", "held out", Stroke::Marked, 1),
        line(
            "held_out_tail_right",
            "held out, last scale",
            Stroke::Dashed,
            2,
        ),
    ];
    recipe(
        "Share right",
        scale("right (%)", Kind::Percent),
        None,
        lines,
    )
}

fn codebook() -> Recipe {
    let lines = vec![
        line("used", "codes in use, training", Stroke::Solid, 0).smooth(Smooth::OverRaw),
        line("held_out_used", "held out", Stroke::Marked, 2),
        line("perplexity", "perplexity", Stroke::Dashed, 1)
            .smooth(Smooth::OverRaw)
            .on_the_right(),
    ];
    let right = Some(scale("perplexity (codes)", Kind::Linear));
    recipe(
        "Codebook",
        scale("codes in use (%)", Kind::Percent),
        right,
        lines,
    )
}

fn psnr() -> Recipe {
    let lines = vec![
        line("psnr", "quantised", Stroke::Marked, 0),
        line("psnr_free", "not quantised", Stroke::Dashed, 1),
    ];
    recipe(
        "Reconstruction of held-out images",
        scale("PSNR (dB)", Kind::Linear),
        None,
        lines,
    )
}

fn parts() -> Recipe {
    let names = [
        ("mse", "mean squared error"),
        ("l1", "mean absolute error"),
        ("lpips", "LPIPS"),
        ("quantiser", "quantiser"),
        ("discriminator", "discriminator"),
        ("adaptive", "adaptive weight"),
    ];
    let count = names.len();
    let mut lines: Vec<Line> = names
        .into_iter()
        .enumerate()
        .map(|(k, (name, label))| {
            let mut line = line(name, label, Stroke::Solid, k).smooth(Smooth::Average);
            line.paint = Paint::Part(k, count);
            line
        })
        .collect();
    // It may be below zero.
    let mut generator =
        line("generator", "generator", Stroke::Dashed, count).smooth(Smooth::Average);
    generator = generator.on_the_right();
    lines.push(generator);
    let right = Some(scale("generator loss", Kind::Linear));
    recipe(
        "Parts of the loss",
        scale("part of the loss", Kind::Log),
        right,
        lines,
    )
}

fn rate() -> Recipe {
    let lines = vec![
        line("learning_rate", "learning rate", Stroke::Solid, 0),
        line("gradient_norm", "gradient norm", Stroke::Dashed, 1)
            .smooth(Smooth::OverRaw)
            .on_the_right(),
    ];
    let right = Some(scale("gradient norm", Kind::Log));
    recipe(
        "Learning rate and gradient norm",
        scale("learning rate", Kind::Log),
        right,
        lines,
    )
}
