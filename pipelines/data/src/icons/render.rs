//! Pictures: SVG bodies and WebP files to small premultiplied RGBA.

use image::{ImageBuffer, Rgba};
use resvg::{tiny_skia, usvg};

/// A square premultiplied RGBA picture, 8 bits a channel.
pub type Rgba8 = Vec<u8>;

/// Where an SVG body lies in its own coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ViewBox {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// Draws an SVG body into `size` x `size`, centred, drawn `supersample` times larger first.
///
/// # Errors
/// The body is not valid SVG.
pub fn svg(body: &str, view: ViewBox, size: usize, supersample: usize) -> Result<Rgba8, String> {
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
    let tree = usvg::Tree::from_str(&text, &usvg::Options::default()).map_err(|e| e.to_string())?;
    let mut map = tiny_skia::Pixmap::new(side, side).ok_or("the picture has no size")?;
    resvg::render(&tree, tiny_skia::Transform::identity(), &mut map.as_mut());
    Ok(reduce(map.data(), side as usize, side as usize, size))
}

/// Decodes a WebP file and reduces it to `size` x `size`.
///
/// # Errors
/// The file is not a valid WebP picture.
pub fn webp(bytes: &[u8], size: usize) -> Result<Rgba8, String> {
    let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::WebP)
        .map_err(|e| e.to_string())?
        .into_rgba8();
    let (width, height) = picture.dimensions();
    let mut data = picture.into_raw();
    for pixel in data.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        for channel in &mut pixel[..3] {
            *channel = ((u32::from(*channel) * alpha + 127) / 255) as u8;
        }
    }
    Ok(reduce(&data, width as usize, height as usize, size))
}

/// Reduces a premultiplied picture with a Catmull-Rom filter; colour never exceeds alpha.
fn reduce(data: &[u8], width: usize, height: usize, size: usize) -> Rgba8 {
    if width == size && height == size {
        return data.to_vec();
    }
    let floats: Vec<f32> = data.iter().map(|v| f32::from(*v) / 255.0).collect();
    let Some(picture) = ImageBuffer::<Rgba<f32>, _>::from_raw(width as u32, height as u32, floats)
    else {
        return vec![0; size * size * 4];
    };
    let filter = image::imageops::FilterType::CatmullRom;
    let small = image::imageops::resize(&picture, size as u32, size as u32, filter);
    let mut out = Vec::with_capacity(size * size * 4);
    for pixel in small.pixels() {
        let alpha = pixel[3].clamp(0.0, 1.0);
        let to_byte = |v: f32| (v * 255.0).round() as u8;
        out.extend(pixel.0[..3].iter().map(|c| to_byte(c.clamp(0.0, alpha))));
        out.push(to_byte(alpha));
    }
    out
}

/// Mirrors a square picture of `channels` bytes a pixel left to right.
pub fn mirror(picture: &mut [u8], size: usize, channels: usize) {
    for row in picture.chunks_exact_mut(size * channels) {
        for x in 0..size / 2 {
            for c in 0..channels {
                row.swap(x * channels + c, (size - 1 - x) * channels + c);
            }
        }
    }
}

/// Whether hardly anything is drawn: less than half a per cent of the area.
pub fn is_empty(picture: &[u8]) -> bool {
    let covered: u64 = picture.chunks_exact(4).map(|p| u64::from(p[3])).sum();
    let pixels = (picture.len() / 4) as u64;
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
        let mut picture = svg(body, VIEW, 8, 2).unwrap();
        assert_eq!(&picture[..4], &[255, 0, 0, 255]);
        assert_eq!(&picture[7 * 4..8 * 4], &[0, 0, 0, 0]);
        mirror(&mut picture, 8, 4);
        assert_eq!(&picture[..4], &[0, 0, 0, 0]);
        assert_eq!(&picture[7 * 4..8 * 4], &[255, 0, 0, 255]);
    }

    #[test]
    fn nothing_drawn_is_empty_and_bad_svg_is_an_error() {
        assert!(is_empty(&svg("<g/>", VIEW, 8, 1).unwrap()));
        assert!(svg("<path d=", VIEW, 8, 1).is_err());
        assert!(webp(b"no picture", 8).is_err());
    }

    #[test]
    fn colour_never_exceeds_alpha() {
        let body = r##"<circle cx="16" cy="16" r="9" fill="#fff" opacity=".5"/>"##;
        let picture = svg(body, VIEW, 16, 2).unwrap();
        assert!(
            picture
                .chunks_exact(4)
                .all(|p| p[..3].iter().all(|c| *c <= p[3]))
        );
        assert!(!is_empty(&picture));
    }
}
