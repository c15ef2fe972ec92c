//! Colours and turns of images: premultiplied RGB and alpha in rows.

/// A hue with its saturation, for [`tint`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tint {
    /// Degrees: red 0, green 120, blue 240.
    pub hue: f32,
    /// 0 (grey) to 1.
    pub saturation: f32,
}

/// Gives every colour one hue and saturation, and keeps its lightness (HSL): black and white stay as they are.
pub(crate) fn tint(rgb: &[u8], alpha: &[u8], tint: Tint) -> Vec<u8> {
    each_colour(rgb, alpha, |colour| {
        let most = colour.iter().copied().fold(0.0, f32::max);
        let least = colour.iter().copied().fold(1.0, f32::min);
        let lightness = (most + least) / 2.0;
        let chroma = (1.0 - (2.0 * lightness - 1.0).abs()) * tint.saturation;
        let channel = |n: f32| {
            let k = (n + tint.hue / 30.0) % 12.0;
            lightness - chroma / 2.0 * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)
        };
        [channel(0.0), channel(8.0), channel(4.0)]
    })
}

/// Replaces every colour by the grey of the same brightness (Rec. 601).
pub(crate) fn grey(rgb: &[u8], alpha: &[u8]) -> Vec<u8> {
    each_colour(rgb, alpha, |[r, g, b]| {
        [0.299 * r + 0.587 * g + 0.114 * b; 3]
    })
}

/// Maps every colour, in 0 to 1 without its alpha.
fn each_colour(rgb: &[u8], alpha: &[u8], map: impl Fn([f32; 3]) -> [f32; 3]) -> Vec<u8> {
    let pixels = rgb.chunks_exact(3).zip(alpha);
    let mapped = pixels.flat_map(|(pixel, &alpha)| {
        let alpha = f32::from(alpha);
        if alpha == 0.0 {
            return [0; 3];
        }
        let colour = [pixel[0], pixel[1], pixel[2]].map(|c| (f32::from(c) / alpha).min(1.0));
        map(colour).map(|c| (c * alpha + 0.5) as u8)
    });
    mapped.collect()
}

/// A turn by a multiple of 90 degrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Anticlockwise.
    Left,
    /// Clockwise.
    Right,
    /// By 180 degrees.
    Half,
}

/// Turns a square image of `channels` bytes a pixel.
pub(crate) fn turn(image: &[u8], size: usize, channels: usize, turn: Turn) -> Vec<u8> {
    let end = size - 1;
    let places = (0..size).flat_map(|y| (0..size).map(move |x| (x, y)));
    let pixels = places.flat_map(|(x, y)| {
        let (x, y) = match turn {
            Turn::Left => (end - y, x),
            Turn::Right => (y, end - x),
            Turn::Half => (end - x, end - y),
        };
        let at = (y * size + x) * channels;
        image[at..at + channels].iter().copied()
    });
    pixels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: Tint = Tint {
        hue: 240.0,
        saturation: 1.0,
    };

    #[test]
    fn a_tint_keeps_black_white_and_lightness() {
        let rgb = [0, 0, 0, 255, 255, 255, 255, 0, 0, 128, 0, 0];
        let tinted = tint(&rgb, &[255; 4], BLUE);
        assert_eq!(tinted, [0, 0, 0, 255, 255, 255, 0, 0, 255, 0, 0, 128]);
        // Half transparent red stays half transparent.
        assert_eq!(tint(&[100, 0, 0], &[100], BLUE), [0, 0, 100]);
        assert_eq!(tint(&[0, 0, 0], &[0], BLUE), [0, 0, 0]);
    }

    #[test]
    fn hues_are_where_they_should_be() {
        let of = |hue| tint(&[255, 0, 0], &[255], Tint { hue, ..BLUE });
        assert_eq!(of(0.0), [255, 0, 0]);
        assert_eq!(of(60.0), [255, 255, 0]);
        assert_eq!(of(120.0), [0, 255, 0]);
        assert_eq!(of(300.0), [255, 0, 255]);
        assert_eq!(grey(&[255, 0, 0], &[255]), [76, 76, 76]);
    }

    #[test]
    fn turns_go_the_right_way() {
        // 1 2
        // 3 4
        let image = [1, 2, 3, 4];
        assert_eq!(turn(&image, 2, 1, Turn::Left), [2, 4, 1, 3]);
        assert_eq!(turn(&image, 2, 1, Turn::Right), [3, 1, 4, 2]);
        assert_eq!(turn(&image, 2, 1, Turn::Half), [4, 3, 2, 1]);
        assert_eq!(
            turn(&[1, 9, 2, 9, 3, 9, 4, 9], 2, 2, Turn::Left)[..4],
            [2, 9, 4, 9]
        );
    }
}
