//! Artwork, SVG bodies and WebP files, to small premultiplied RGBA images.

use image::{ImageBuffer, Rgba};
use resvg::{tiny_skia, usvg};

/// A square premultiplied RGBA image, 8 bits per channel.
type Rgba8 = Vec<u8>;

/// Why artwork cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenderError {
    /// The body is not valid SVG.
    #[error(transparent)]
    Svg(#[from] usvg::Error),
    /// An image of no pixels was asked for.
    #[error("the image has no size")]
    NoSize,
    /// The file is not a valid WebP image.
    #[error(transparent)]
    Webp(#[from] image::ImageError),
}

/// Where an SVG body lies in its own coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ViewBox {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// Renders an SVG body `supersample` times larger, centred, and reduces it to `size` x `size`.
///
/// # Errors
/// The body is not valid SVG.
pub(super) fn svg(
    body: &str,
    view: ViewBox,
    size: usize,
    supersample: usize,
) -> Result<Rgba8, RenderError> {
    let side = (size * supersample) as u32;
    let ViewBox {
        left,
        top,
        width,
        height,
    } = view;
    let text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" \
         viewBox=\"{left} {top} {width} {height}\" width=\"{side}\" height=\"{side}\">{body}</svg>"
    );
    let tree = usvg::Tree::from_str(&text, &usvg::Options::default())?;
    let mut map = tiny_skia::Pixmap::new(side, side).ok_or(RenderError::NoSize)?;
    resvg::render(&tree, tiny_skia::Transform::identity(), &mut map.as_mut());
    Ok(reduce(map.data(), side as usize, side as usize, size))
}

/// Decodes a WebP file and reduces it to `size` x `size`.
///
/// # Errors
/// The file is not a valid WebP image.
pub(super) fn webp(bytes: &[u8], size: usize) -> Result<Rgba8, RenderError> {
    let image = image::load_from_memory_with_format(bytes, image::ImageFormat::WebP)?.into_rgba8();
    let (width, height) = image.dimensions();
    let mut data = image.into_raw();
    for pixel in data.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        for channel in &mut pixel[..3] {
            *channel = ((u32::from(*channel) * alpha + 127) / 255) as u8;
        }
    }
    Ok(reduce(&data, width as usize, height as usize, size))
}

/// Reduces a premultiplied image with a Catmull-Rom filter; colour never exceeds alpha.
fn reduce(data: &[u8], width: usize, height: usize, size: usize) -> Rgba8 {
    if width == size && height == size {
        return data.to_vec();
    }
    let floats: Vec<f32> = data.iter().map(|v| f32::from(*v) / 255.0).collect();
    let Some(image) = ImageBuffer::<Rgba<f32>, _>::from_raw(width as u32, height as u32, floats)
    else {
        return vec![0; size * size * 4];
    };
    let filter = image::imageops::FilterType::CatmullRom;
    let small = image::imageops::resize(&image, size as u32, size as u32, filter);
    let mut out = Vec::with_capacity(size * size * 4);
    for pixel in small.pixels() {
        let alpha = pixel[3].clamp(0.0, 1.0);
        let to_byte = |v: f32| (v * 255.0).round() as u8;
        out.extend(pixel.0[..3].iter().map(|c| to_byte(c.clamp(0.0, alpha))));
        out.push(to_byte(alpha));
    }
    out
}

/// Mirrors a square image left to right.
pub(super) fn mirror(image: &mut [u8], size: usize) {
    for row in image.chunks_exact_mut(size * 4) {
        row.as_chunks_mut::<4>().0.reverse();
    }
}

/// Whether hardly anything is drawn: less than half a percent of the area.
pub(super) fn is_empty(image: &[u8]) -> bool {
    let covered: u64 = image.chunks_exact(4).map(|p| u64::from(p[3])).sum();
    let pixels = (image.len() / 4) as u64;
    covered * 200 < pixels * 255
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: ViewBox = ViewBox {
        left: 0.0,
        top: 0.0,
        width: 32.0,
        height: 32.0,
    };

    #[test]
    fn a_half_red_square() {
        let body = r##"<path fill="#f00" d="M0 0h16v32H0z"/>"##;
        let mut image = svg(body, VIEW, 8, 2).unwrap();
        assert_eq!(&image[..4], &[255, 0, 0, 255]);
        assert_eq!(&image[7 * 4..8 * 4], &[0, 0, 0, 0]);
        mirror(&mut image, 8);
        assert_eq!(&image[..4], &[0, 0, 0, 0]);
        assert_eq!(&image[7 * 4..8 * 4], &[255, 0, 0, 255]);
    }

    #[test]
    fn nothing_drawn_is_empty_and_bad_svg_is_an_error() {
        assert!(is_empty(&svg("<g/>", VIEW, 8, 1).unwrap()));
        assert!(svg("<path d=", VIEW, 8, 1).is_err());
        assert!(webp(b"no image", 8).is_err());
    }

    #[test]
    fn colour_never_exceeds_alpha() {
        let body = r##"<circle cx="16" cy="16" r="9" fill="#fff" opacity=".5"/>"##;
        let image = svg(body, VIEW, 16, 2).unwrap();
        assert!(
            image
                .chunks_exact(4)
                .all(|p| p[..3].iter().all(|c| *c <= p[3]))
        );
        assert!(!is_empty(&image));
    }
}
