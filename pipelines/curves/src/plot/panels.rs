//! The panels of a page: which curves they show.

use crate::log::Log;
use crate::options::PlotOptions;
use crate::plot::axis::{Kind, Scale};
use crate::plot::colour::{of_curve, of_key};
use crate::plot::curve::{Curve, Point, Side, Stroke, average, thin};
use crate::plot::horizontal::Horizontal;
use crate::plot::legend::Key;
use crate::plot::recipe::{Line, Recipe, Smooth};

/// Points of a curve after which more are not seen.
const POINTS: usize = 1500;

/// A panel with its curves.
#[derive(Debug)]
pub(crate) struct Panel {
    /// What it shows.
    pub(crate) title: &'static str,
    /// The axis on the left.
    pub(crate) left: Scale,
    /// The axis on the right, if a curve needs it.
    pub(crate) right: Option<Scale>,
    /// Its curves, those in the background first.
    pub(crate) curves: Vec<Curve>,
    /// What its strokes stand for.
    pub(crate) keys: Vec<Key>,
}

/// A panel, if a log has numbers for it.
pub(crate) fn panel(
    recipe: Recipe,
    logs: &[Log],
    x: &Horizontal,
    options: &PlotOptions,
) -> Option<Panel> {
    let mut curves = Vec::new();
    let mut shown: Vec<&Line> = Vec::new();
    for line in &recipe.lines {
        for (run, log) in logs.iter().enumerate() {
            let kind = recipe.scale(line.side).kind;
            let points = log.points(&line.name, x.kind).into_iter();
            let points = points.filter(|point| kind != Kind::Log || point.1 > 0.0);
            let points: Vec<Point> = points.map(|(at, value)| (at / x.unit, value)).collect();
            if points.is_empty() {
                continue;
            }
            if !shown.contains(&line) {
                shown.push(line);
            }
            let colour = of_curve(line.paint, run, logs.len());
            curves.extend(
                drawn(line, points, options.smoothing).map(|(points, stroke)| Curve {
                    points: thin(points, POINTS),
                    colour,
                    stroke,
                    side: line.side,
                }),
            );
        }
    }
    curves.sort_by_key(|curve| curve.stroke != Stroke::Faint);
    let keys = keys(&recipe, &shown, logs.len());
    let has = |side: Side| curves.iter().any(|curve| curve.side == side);
    let right = recipe.right.filter(|_| has(Side::Right));
    let (left, right) = if has(Side::Left) {
        (recipe.left, right)
    } else {
        curves.iter_mut().for_each(|curve| curve.side = Side::Left);
        (right?, None)
    };
    Some(Panel {
        title: recipe.title,
        left,
        right,
        curves,
        keys,
    })
}

/// The strokes of a line: as it was measured, smoothed, or both.
fn drawn(
    line: &Line,
    points: Vec<Point>,
    smoothing: f64,
) -> impl Iterator<Item = (Vec<Point>, Stroke)> {
    let span = smoothing * points.len() as f64;
    let smooth = match span {
        span if span < 2.0 => Smooth::No,
        _ => line.smooth,
    };
    let strokes = match smooth {
        Smooth::No => vec![(points, line.stroke)],
        Smooth::Average => vec![(average(&points, span), line.stroke)],
        Smooth::OverRaw => {
            let smoothed = average(&points, span);
            vec![(points, Stroke::Faint), (smoothed, line.stroke)]
        }
    };
    strokes.into_iter()
}

/// The legend: each line that is shown and has a label.
fn keys(recipe: &Recipe, shown: &[&Line], runs: usize) -> Vec<Key> {
    let has_left = shown.iter().any(|line| line.side == Side::Left);
    let lines = shown.iter().filter_map(|line| {
        let mut name = line.label.clone()?;
        if line.side == Side::Right && has_left {
            name += " (right axis)";
        }
        let stroke = Some((of_key(line.paint, runs), line.stroke));
        Some(Key { name, stroke })
    });
    let first = recipe.first_keys.iter().cloned();
    first.chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::X;
    use crate::plot::recipes::recipes;

    fn log(name: &str, names: &[&str]) -> Log {
        let lines = (1..=100).map(|step| {
            let numbers = names
                .iter()
                .map(|name| ((*name).to_owned(), 1.0 / f64::from(step)));
            let step = ("step".to_owned(), f64::from(step));
            numbers.chain([step]).collect()
        });
        Log {
            name: name.to_owned(),
            lines: lines.collect(),
            skipped_lines: 0,
            skipped_values: 0,
        }
    }

    fn panels(logs: &[Log]) -> Vec<Panel> {
        let options = PlotOptions::default();
        let x = Horizontal::new(logs, X::Steps);
        let recipes = recipes(logs, &options).into_iter();
        recipes
            .filter_map(|recipe| panel(recipe, logs, &x, &options))
            .collect()
    }

    #[test]
    fn a_panel_is_there_if_a_log_has_its_numbers() {
        let found = |names: &[&str]| -> Vec<&str> {
            panels(&[log("a", names)])
                .iter()
                .map(|panel| panel.title)
                .collect()
        };
        assert_eq!(found(&["loss"]), ["Loss"]);
        assert_eq!(
            found(&["used", "psnr"]),
            ["Codebook", "Reconstruction of held-out images"]
        );
        assert_eq!(
            found(&["right", "gradient_norm"]),
            ["Share right", "Learning rate and gradient norm"]
        );
        assert!(found(&["seconds"]).is_empty());
    }

    #[test]
    fn noisy_curves_are_smoothed_over_themselves() {
        let panels = panels(&[log("a", &["loss", "held_out_loss"]), log("b", &["loss"])]);
        let strokes: Vec<Stroke> = panels[0].curves.iter().map(|curve| curve.stroke).collect();
        let (faint, solid) = (Stroke::Faint, Stroke::Solid);
        assert_eq!(strokes, [faint, faint, solid, solid, Stroke::Marked]);
        assert_ne!(
            panels[0].curves[2].colour, panels[0].curves[3].colour,
            "runs"
        );
        assert_eq!(
            panels[0].curves[2].colour, panels[0].curves[4].colour,
            "one run"
        );
    }

    #[test]
    fn scales_are_shown_if_all_runs_have_them() {
        let scaled = log("a", &["right", "right.0", "right.1", "held_out_right.1"]);
        let names = |logs: &[Log]| -> Vec<String> {
            panels(logs)[0]
                .keys
                .iter()
                .map(|key| key.name.clone())
                .collect()
        };
        let both = ["training", "held out", "scale", "0", "1"];
        assert_eq!(names(std::slice::from_ref(&scaled)), both);
        let two = [scaled.clone(), scaled.clone()];
        assert_eq!(names(&two), ["held out", "scale", "1"]);
        assert_eq!(names(&[scaled, log("b", &["right"])]), ["training"]);
    }

    #[test]
    fn an_axis_without_curves_is_not_there() {
        let panels = panels(&[log("a", &["gradient_norm"])]);
        assert_eq!(panels[0].left.label, "gradient norm");
        assert_eq!(panels[0].right, None);
        assert_eq!(panels[0].keys[0].name, "gradient norm");
    }
}
