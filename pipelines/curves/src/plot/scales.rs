//! The share of bits or codes right, by scale.

use crate::log::Log;
use crate::plot::axis::Kind;
use crate::plot::colour::{Paint, SOFT};
use crate::plot::curve::Stroke;
use crate::plot::legend::Key;
use crate::plot::recipe::{Line, Recipe, Smooth, line, recipe, scale};

/// How the names of the share right on a scale begin.
const TRAINING: &str = "right.";
const HELD_OUT: &str = "held_out_right.";

/// A panel with a line for each scale, if all logs tell the scales apart. Several runs have only one line for each: that of
/// the held-out examples if all logs have it.
pub(crate) fn right_by_scale(logs: &[Log]) -> Option<Recipe> {
    let all_have = |name| logs.iter().all(|log| scales(log, name) > 0);
    let held_out = all_have(HELD_OUT);
    let training = all_have(TRAINING) && (logs.len() == 1 || !held_out);
    let most = |name, shown: bool| {
        logs.iter()
            .map(|log| scales(log, name))
            .max()
            .filter(|_| shown)
    };
    let count = most(TRAINING, training).max(most(HELD_OUT, held_out))?;
    let lines = (0..count).flat_map(|k| {
        let paint = Paint::Ramp(k, count);
        let label = k.to_string();
        let of_training = line(&format!("{TRAINING}{k}"), &label, Stroke::Solid, 0);
        let of_training = Line {
            paint,
            ..of_training.smooth(Smooth::Average)
        };
        let of_held_out = line(&format!("{HELD_OUT}{k}"), &label, Stroke::Marked, 0);
        let label = of_held_out.label.clone().filter(|_| !training);
        let of_held_out = Line {
            paint,
            label,
            ..of_held_out
        };
        let both = [of_training, of_held_out]
            .into_iter()
            .zip([training, held_out]);
        both.filter(|(_, shown)| *shown).map(|(line, _)| line)
    });
    let key = |name: &str, stroke: Option<Stroke>| Key {
        name: name.to_owned(),
        stroke: stroke.map(|stroke| (SOFT, stroke)),
    };
    let kinds = [
        ("training", Stroke::Solid, training),
        ("held out", Stroke::Marked, held_out),
    ];
    let shown = kinds.into_iter().filter(|(.., shown)| *shown);
    let first_keys = shown.map(|(name, stroke, _)| key(name, Some(stroke)));
    let first_keys = first_keys.chain([key("scale", None)]).collect();
    let axis = scale("right (%)", Kind::Percent);
    Some(Recipe {
        first_keys,
        ..recipe("Share right by scale", axis, None, lines.collect())
    })
}

/// The number of scales in the names of a log that begin so.
fn scales(log: &Log, start: &str) -> usize {
    let names = log.lines.iter().flat_map(|line| line.keys());
    let numbers = names.filter_map(|name| name.strip_prefix(start)?.parse::<usize>().ok());
    numbers.max().map_or(0, |last| last + 1)
}
