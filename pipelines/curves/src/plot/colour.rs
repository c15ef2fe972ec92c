//! Colours that people with any kind of colour vision can tell apart.

use plotters::style::RGBColor;

/// Text and axes.
pub(crate) const INK: RGBColor = RGBColor(34, 34, 34);
/// Text that explains.
pub(crate) const SOFT: RGBColor = RGBColor(85, 85, 85);
/// The lines of a grid.
pub(crate) const GRID: RGBColor = RGBColor(230, 230, 230);
/// The page.
pub(crate) const PAPER: RGBColor = RGBColor(255, 255, 255);

/// The palette of Okabe and Ito without its yellow, which is too light for lines on white.
const HUES: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
/// Viridis, from dark to light.
const RAMP: [RGBColor; 5] = [
    RGBColor(68, 1, 84),
    RGBColor(59, 82, 139),
    RGBColor(33, 145, 140),
    RGBColor(94, 201, 98),
    RGBColor(200, 196, 40),
];
/// How light the lightest shade of a colour is, as a share of white.
const LIGHTEST: f64 = 0.65;

/// What the colour of a curve stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Paint {
    /// One of a few different things.
    Hue(usize),
    /// The first number of as many things in an order as the second says.
    Ramp(usize, usize),
    /// The first number of as many different things as the second says.
    Part(usize, usize),
}

/// The colour of a curve of a run. One run alone uses colours for its curves; several runs have a colour each, and shades of
/// it.
pub(crate) fn of_curve(paint: Paint, run: usize, runs: usize) -> RGBColor {
    match (paint, runs) {
        (Paint::Hue(hue) | Paint::Part(hue, _), 1) => of_run(hue),
        (Paint::Ramp(k, n), 1) => ramp(share(k, n)),
        _ => shade(paint, of_run(run)),
    }
}

/// The colour of a curve in a legend that stands for all runs: as in the curve for one run, a gray for several.
pub(crate) fn of_key(paint: Paint, runs: usize) -> RGBColor {
    match runs {
        1 => of_curve(paint, 0, 1),
        _ => shade(paint, SOFT),
    }
}

/// The colour of a run among several. After seven come lighter ones, and after 14 the same again.
pub(crate) fn of_run(run: usize) -> RGBColor {
    let hue = HUES[run % HUES.len()];
    match run / HUES.len() % 2 {
        0 => hue,
        _ => mix(hue, PAPER, 0.5),
    }
}

fn shade(paint: Paint, colour: RGBColor) -> RGBColor {
    match paint {
        Paint::Hue(_) => colour,
        Paint::Ramp(k, n) | Paint::Part(k, n) => mix(colour, PAPER, LIGHTEST * share(k, n)),
    }
}

fn share(k: usize, n: usize) -> f64 {
    k as f64 / n.saturating_sub(1).max(1) as f64
}

fn ramp(at: f64) -> RGBColor {
    let at = at.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let i = (at as usize).min(RAMP.len() - 2);
    mix(RAMP[i], RAMP[i + 1], at - i as f64)
}

/// A colour between two.
fn mix(a: RGBColor, b: RGBColor, share: f64) -> RGBColor {
    let mix = |a: u8, b: u8| (f64::from(a) + share * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_scales_have_colours_of_their_own() {
        let differ = |colours: Vec<RGBColor>| {
            for (i, colour) in colours.iter().enumerate() {
                assert!(!colours[..i].contains(colour), "colour {i}");
            }
        };
        differ((0..14).map(of_run).collect());
        for runs in [1, 2] {
            differ(
                (0..10)
                    .map(|k| of_curve(Paint::Ramp(k, 10), 0, runs))
                    .collect(),
            );
        }
        assert_eq!(ramp(0.0), RAMP[0]);
        assert_eq!(ramp(1.0), RAMP[4]);
        assert_eq!(of_curve(Paint::Hue(1), 3, 4), of_run(3));
    }
}
