//! Legends: rows of short strokes with names.

use plotters::prelude::*;

use crate::error::CurvesError;
use crate::plot::canvas::{Area, fitted, px, text, text_width};
use crate::plot::colour::{INK, SOFT};
use crate::plot::curve::Stroke;
use crate::plot::strokes;

/// Height of a row in pixels.
pub(crate) const ROW: f64 = 18.0;
/// Length of a stroke, and the space after it and after a name, in pixels.
const STROKE: f64 = 24.0;
const AFTER_STROKE: f64 = 5.0;
const AFTER_NAME: f64 = 14.0;

/// An entry of a legend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    /// The name.
    pub(crate) name: String,
    /// The stroke before it; a name without one says what the next ones are.
    pub(crate) stroke: Option<(RGBColor, Stroke)>,
}

/// A legend that is laid out: the entries with their rows and places in pixels.
pub(crate) struct Legend {
    entries: Vec<(Key, usize, f64)>,
    size: f64,
}

impl Legend {
    /// Lays out entries with text of a size in pixels in rows as wide as an area.
    pub(crate) fn new(area: &Area<'_>, keys: &[Key], size: f64) -> Self {
        let width = f64::from(area.dim_in_pixel().0) / f64::from(px(1.0));
        let (mut row, mut at) = (0, 0.0);
        let mut entries = Vec::new();
        for key in keys {
            let before = before_name(key);
            let name = fitted(area, &key.name, size, width - before);
            let wide = before + text_width(area, &name, size);
            if at > 0.0 && at + wide > width {
                (row, at) = (row + 1, 0.0);
            }
            let stroke = key.stroke;
            entries.push((Key { name, stroke }, row, at));
            at += wide + AFTER_NAME;
        }
        Self { entries, size }
    }

    /// Its height in pixels.
    pub(crate) fn height(&self) -> f64 {
        self.entries
            .last()
            .map_or(0.0, |(_, row, _)| ROW * (*row + 1) as f64)
    }

    /// Draws it at the top of an area.
    pub(crate) fn draw(&self, area: &Area<'_>) -> Result<(), CurvesError> {
        for (key, row, at) in &self.entries {
            let middle = ROW * (*row as f64 + 0.5);
            let mut colour = SOFT;
            if let Some((stroke, kind)) = key.stroke {
                colour = INK;
                sample(area, (*at, middle), stroke, kind)?;
            }
            let place = (px(at + before_name(key)), px(middle - 0.62 * self.size));
            area.draw(&Text::new(
                key.name.as_str(),
                place,
                text(self.size, colour),
            ))
            .map_err(CurvesError::draw)?;
        }
        Ok(())
    }
}

/// A short stroke; its point, if it has one, in the middle.
fn sample(
    area: &Area<'_>,
    at: (f64, f64),
    colour: RGBColor,
    stroke: Stroke,
) -> Result<(), CurvesError> {
    let place = |along: f64| (px(at.0 + along), px(at.1));
    if stroke == Stroke::Marked {
        strokes::draw(area, vec![place(STROKE / 2.0)], colour, stroke)?;
    }
    let line = match stroke {
        Stroke::Dashed => Stroke::Dashed,
        Stroke::Faint => Stroke::Faint,
        Stroke::Solid | Stroke::Marked => Stroke::Solid,
    };
    strokes::draw(area, vec![place(0.0), place(STROKE)], colour, line)
}

fn before_name(key: &Key) -> f64 {
    key.stroke.map_or(0.0, |_| STROKE + AFTER_STROKE)
}
