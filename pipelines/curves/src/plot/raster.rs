//! Pages as PNG, with a font that comes with the program: many servers have none.

use resvg::{tiny_skia, usvg};

use crate::error::CurvesError;

/// A part of DejaVu Sans: Latin, Greek and Cyrillic.
pub(crate) const FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans-subset.ttf");
/// Its name.
const FAMILY: &str = "DejaVu Sans";

/// A page as PNG, of the size that the SVG says.
///
/// # Errors
/// The SVG cannot be read, or memory is short.
pub(crate) fn png(svg: &str) -> Result<Vec<u8>, CurvesError> {
    let mut options = usvg::Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    let tree = usvg::Tree::from_str(svg, &options).map_err(CurvesError::draw)?;
    let size = tree.size().to_int_size();
    let map = tiny_skia::Pixmap::new(size.width(), size.height());
    let mut map = map.ok_or_else(|| CurvesError::draw("there is not enough memory"))?;
    resvg::render(&tree, tiny_skia::Transform::identity(), &mut map.as_mut());
    map.encode_png().map_err(CurvesError::draw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_needs_no_font_of_the_system() {
        let ink = |text: &str| {
            let svg = format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"60\" height=\"30\">\
                 <text x=\"5\" y=\"20\" font-size=\"16\" font-family=\"sans-serif\">{text}</text></svg>"
            );
            let png = png(&svg).unwrap();
            let map = tiny_skia::Pixmap::decode_png(&png).unwrap();
            assert_eq!((map.width(), map.height()), (60, 30));
            map.pixels()
                .iter()
                .filter(|pixel| pixel.alpha() > 128)
                .count()
        };
        assert_eq!(ink(""), 0);
        assert!(ink("äλЖ") > ink("i") && ink("i") > 10);
    }
}
