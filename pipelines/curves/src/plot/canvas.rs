//! The page that is drawn on.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::CurvesError;
use crate::font::{FAMILY, register_font};

/// A part of the page.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The drawing library rounds to whole units; a pixel has this many.
const FINE: f64 = 8.0;
/// The drawing library counts a font's size by its lines rather than by its letters.
const LINE: f64 = 1.24;

/// Pixels in the units of the drawing library.
pub(crate) fn px(pixels: f64) -> i32 {
    (FINE * pixels).round() as i32
}

/// As [`px`], where a size is asked for.
pub(crate) fn size(pixels: f64) -> u32 {
    px(pixels.max(0.0)) as u32
}

/// Width and height of a part of the page in pixels.
pub(crate) fn pixels(area: &Area<'_>) -> (f64, f64) {
    let (width, height) = area.dim_in_pixel();
    (f64::from(width) / FINE, f64::from(height) / FINE)
}

/// A part of a part, by its corner and its size in pixels.
pub(crate) fn part<'a>(
    area: &Area<'a>,
    (x, y): (f64, f64),
    (width, height): (f64, f64),
) -> Area<'a> {
    area.clone().shrink((px(x), px(y)), (px(width), px(height)))
}

/// Text of a size in pixels.
pub(crate) fn text(pixels: f64, colour: RGBColor) -> TextStyle<'static> {
    (FAMILY, FINE * LINE * pixels).into_font().color(&colour)
}

/// Width of a text in pixels.
pub(crate) fn text_width(area: &Area<'_>, content: &str, pixels: f64) -> f64 {
    let size = area.estimate_text_size(content, &text(pixels, BLACK));
    size.map_or(0.0, |(width, _)| f64::from(width) / FINE)
}

/// A text no wider than `width` pixels: one that is too long loses its middle.
pub(crate) fn fitted(area: &Area<'_>, content: &str, pixels: f64, width: f64) -> String {
    let letters: Vec<char> = content.chars().collect();
    let shortened = |kept: usize| -> String {
        let head = letters[..kept.div_ceil(2)].iter();
        let tail = letters[letters.len() - kept / 2..].iter();
        head.chain(&['…']).chain(tail).collect()
    };
    if text_width(area, content, pixels) <= width {
        return content.to_owned();
    }
    let fits = |text: &String| text_width(area, text, pixels) <= width;
    (1..letters.len())
        .rev()
        .map(shortened)
        .find(fits)
        .unwrap_or_else(|| "…".to_owned())
}

/// A page as SVG.
///
/// # Errors
/// Those of `draw`.
pub(crate) fn svg(
    (width, height): (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), CurvesError>,
) -> Result<String, CurvesError> {
    register_font()?;
    let mut svg = String::new();
    let fine = (size(width.into()), size(height.into()));
    let area = SVGBackend::with_string(&mut svg, fine).into_drawing_area();
    draw(&area)?;
    area.present().map_err(CurvesError::draw)?;
    drop(area);
    // The view box has the fine units, the page pixels.
    let fine = format!("width=\"{}\" height=\"{}\"", fine.0, fine.1);
    let page = format!("width=\"{width}\" height=\"{height}\" stroke-linejoin=\"round\"");
    Ok(svg.replacen(&fine, &page, 1))
}
