//! Strokes: what a curve and its sample in a legend have in common.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use crate::error::CurvesError;
use crate::plot::canvas::{Area, size};
use crate::plot::curve::Stroke;

/// Width of a line in pixels.
const LINE: f64 = 1.7;
const FAINT_LINE: f64 = 1.0;
/// How much of the colour is left in a faint line.
const FAINT: f64 = 0.25;
/// Radius of a point in pixels.
const POINT: f64 = 2.7;
/// Length of a dash and of the space after it in pixels.
const DASH: (f64, f64) = (6.0, 3.5);
/// Points that are marked at most.
const MARKS: usize = 40;

/// Draws a stroke through points, given in the units of an area.
///
/// # Errors
/// The drawing library fails.
pub(crate) fn draw(
    area: &Area<'_>,
    points: Vec<(i32, i32)>,
    colour: RGBColor,
    stroke: Stroke,
) -> Result<(), CurvesError> {
    let style = match stroke {
        Stroke::Faint => colour.mix(FAINT).stroke_width(size(FAINT_LINE)),
        _ => colour.stroke_width(size(LINE)),
    };
    let is_marked = stroke == Stroke::Marked || points.len() == 1;
    if is_marked {
        for point in marks(&points) {
            let circle = Circle::new(point, size(POINT), colour.filled());
            area.draw(&circle).map_err(CurvesError::draw)?;
        }
    }
    if points.len() < 2 {
        return Ok(());
    }
    match stroke {
        Stroke::Dashed => {
            let (dash, space) = (size(DASH.0), size(DASH.1));
            area.draw(&DashedPathElement::new(points, dash, space, style))
        }
        _ => area.draw(&PathElement::new(points, style)),
    }
    .map_err(CurvesError::draw)
}

/// The points to mark: all, or some of many and always the last one.
fn marks(points: &[(i32, i32)]) -> Vec<(i32, i32)> {
    let every = points.len().div_ceil(MARKS).max(1);
    points.iter().rev().step_by(every).copied().collect()
}
