//! The font that plots are measured with.

use plotters::style::{FontStyle, register_font as register};

use crate::error::CurvesError;
use crate::plot::raster::FONT;

/// The font of all text: whatever the reader has without serifs.
pub(crate) const FAMILY: &str = "sans-serif";

/// Makes the font in the program known to `plotters` as `sans-serif`. Text is only measured with it: an SVG names its font.
///
/// # Errors
/// If it is damaged.
pub fn register_font() -> Result<(), CurvesError> {
    register(FAMILY, FontStyle::Normal, FONT)
        .map_err(|_| CurvesError::draw("the font in the program is damaged"))
}
