//! Decoded frames as they are shown: cropped, mirrored and rotated, on white where they are transparent.

use ffmpeg_next::frame::Video;

/// A frame as RGB bytes in row-major order, after its width and height.
pub type RgbFrame = ([usize; 2], Vec<u8>);

/// The RGB bytes of the centre of a frame of size `full`, cropped to `to`. `channels` is 3, or 4 with alpha.
pub(super) fn crop(frame: &Video, full: [usize; 2], to: [usize; 2], channels: usize) -> Vec<u8> {
    let [left, top] = [(full[0] - to[0]) / 2, (full[1] - to[1]) / 2];
    let (stride, data) = (frame.stride(0), frame.data(0));
    let row = |y: usize| &data[y * stride + channels * left..][..channels * to[0]];
    let rows = (top..top + to[1]).flat_map(row);
    if channels == 3 {
        return rows.copied().collect();
    }
    let rgba: Vec<u8> = rows.copied().collect();
    rgba.chunks_exact(4).flat_map(on_white).collect()
}

fn on_white(pixel: &[u8]) -> [u8; 3] {
    let alpha = u32::from(pixel[3]);
    let blend = |c: u8| ((u32::from(c) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
    [blend(pixel[0]), blend(pixel[1]), blend(pixel[2])]
}

/// How stored frames are turned to be shown: mirrored left to right first, then rotated clockwise by quarter turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Orientation {
    pub(super) mirrored: bool,
    pub(super) quarters: usize,
}

impl Orientation {
    /// The orientation of a display matrix: nine integers, of which the first, second, fourth and fifth rotate and mirror.
    pub(super) fn of(matrix: &[u8]) -> Self {
        let number = |i: usize| {
            let bytes = matrix.get(4 * i..4 * i + 4)?;
            Some(f64::from(i32::from_ne_bytes(bytes.try_into().ok()?)))
        };
        let (Some(a), Some(b), Some(c), Some(d)) = (number(0), number(1), number(3), number(4))
        else {
            return Self::default();
        };
        let mirrored = a * d - b * c < 0.0;
        let (cosine, sine) = if mirrored { (-a, -b) } else { (a, b) };
        let turns = sine.atan2(cosine) / std::f64::consts::FRAC_PI_2;
        let quarters = (turns.round() as i64).rem_euclid(4) as usize;
        Self { mirrored, quarters }
    }

    /// Whether columns become rows.
    pub(super) fn is_sideways(self) -> bool {
        self.quarters % 2 == 1
    }

    /// A frame as it is shown.
    pub(super) fn apply(self, [w, h]: [usize; 2], bytes: Vec<u8>) -> RgbFrame {
        if self == Self::default() {
            return ([w, h], bytes);
        }
        let shown = if self.is_sideways() { [h, w] } else { [w, h] };
        let mut out = Vec::with_capacity(bytes.len());
        for y in 0..shown[1] {
            for x in 0..shown[0] {
                let (column, row) = match self.quarters {
                    0 => (x, y),
                    1 => (y, h - 1 - x),
                    2 => (w - 1 - x, h - 1 - y),
                    _ => (w - 1 - y, x),
                };
                let column = if self.mirrored {
                    w - 1 - column
                } else {
                    column
                };
                out.extend_from_slice(&bytes[3 * (row * w + column)..][..3]);
            }
        }
        (shown, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_turn_clockwise_and_mirrors_come_first() {
        let image: Vec<u8> = (0..6u8).flat_map(|i| [i; 3]).collect(); // 3 x 2
        let shown = |mirrored, quarters| {
            let orientation = Orientation { mirrored, quarters };
            let (size, bytes) = orientation.apply([3, 2], image.clone());
            (size, bytes.chunks(3).map(|p| p[0]).collect::<Vec<_>>())
        };
        assert_eq!(shown(false, 1), ([2, 3], vec![3, 0, 4, 1, 5, 2]));
        assert_eq!(shown(false, 2), ([3, 2], vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(shown(false, 3), ([2, 3], vec![2, 5, 1, 4, 0, 3]));
        assert_eq!(shown(true, 0), ([3, 2], vec![2, 1, 0, 5, 4, 3]));
        assert_eq!(shown(true, 1), ([2, 3], vec![5, 2, 4, 1, 3, 0]));
        assert_eq!(shown(true, 2), ([3, 2], vec![3, 4, 5, 0, 1, 2]));
    }

    #[test]
    fn a_display_matrix_is_an_orientation() {
        const ONE: i32 = 1 << 16;
        let of = |[a, b, c, d]: [i32; 4]| {
            let matrix = [a, b, 0, c, d, 0, 0, 0, 1 << 30];
            let Orientation { mirrored, quarters } =
                Orientation::of(&matrix.map(i32::to_ne_bytes).concat());
            (mirrored, quarters)
        };
        assert_eq!(of([ONE, 0, 0, ONE]), (false, 0));
        assert_eq!(of([0, ONE, -ONE, 0]), (false, 1));
        assert_eq!(of([0, -ONE, ONE, 0]), (false, 3));
        assert_eq!(of([-ONE, 0, 0, ONE]), (true, 0));
        assert_eq!(of([ONE, 0, 0, -ONE]), (true, 2));
        assert_eq!(Orientation::of(&[]), Orientation::default());
    }

    #[test]
    fn transparent_pixels_lie_on_white() {
        assert_eq!(on_white(&[10, 20, 30, 255]), [10, 20, 30]);
        assert_eq!(on_white(&[10, 20, 30, 0]), [255; 3]);
        assert_eq!(on_white(&[0, 0, 0, 128])[0], 127);
    }
}
