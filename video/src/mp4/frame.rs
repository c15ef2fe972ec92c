//! Cropping and rotating decoded frames.

use ffmpeg_next::frame::Video;

/// A frame as RGB bytes in row-major order, after its width and height.
pub type RgbFrame = ([usize; 2], Vec<u8>);

/// The RGB bytes of the centre of a frame of size `full`, cropped to `to`.
pub(super) fn crop(frame: &Video, full: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    let [left, top] = [(full[0] - to[0]) / 2, (full[1] - to[1]) / 2];
    let (stride, data) = (frame.stride(0), frame.data(0));
    let rows = (top..top + to[1]).flat_map(|row| &data[row * stride + 3 * left..][..3 * to[0]]);
    rows.copied().collect()
}

/// A frame rotated clockwise by `quarters` quarter turns.
pub(super) fn rotate(size: [usize; 2], bytes: Vec<u8>, quarters: usize) -> RgbFrame {
    let [w, h] = size;
    let to = if quarters % 2 == 1 { [h, w] } else { size };
    if quarters == 0 {
        return (size, bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    for y in 0..to[1] {
        for x in 0..to[0] {
            let (column, row) = match quarters {
                1 => (y, h - 1 - x),
                2 => (w - 1 - x, h - 1 - y),
                _ => (w - 1 - y, x),
            };
            out.extend_from_slice(&bytes[3 * (row * w + column)..][..3]);
        }
    }
    (to, out)
}

/// Clockwise quarter turns of a display matrix: nine integers, of which the first two are cosine and sine of the
/// rotation.
pub(super) fn quarters(matrix: &[u8]) -> usize {
    let number = |i: usize| {
        let bytes = matrix.get(4 * i..4 * i + 4)?;
        Some(f64::from(i32::from_ne_bytes(bytes.try_into().ok()?)))
    };
    let (Some(cosine), Some(sine)) = (number(0), number(1)) else {
        return 0;
    };
    let turns = sine.atan2(cosine) / std::f64::consts::FRAC_PI_2;
    (turns.round() as i64).rem_euclid(4) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_turn_clockwise() {
        let image: Vec<u8> = (0..6u8).flat_map(|i| [i; 3]).collect(); // 3 x 2
        let rotated = |quarters| {
            let (size, bytes) = rotate([3, 2], image.clone(), quarters);
            (size, bytes.chunks(3).map(|p| p[0]).collect::<Vec<_>>())
        };
        assert_eq!(rotated(1), ([2, 3], vec![3, 0, 4, 1, 5, 2]));
        assert_eq!(rotated(2), ([3, 2], vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(rotated(3), ([2, 3], vec![2, 5, 1, 4, 0, 3]));
        let matrix = |a: i32, b: i32| [a, b].map(i32::to_ne_bytes).concat();
        assert_eq!(quarters(&matrix(65536, 0)), 0);
        assert_eq!(quarters(&matrix(0, 65536)), 1);
        assert_eq!(quarters(&matrix(0, -65536)), 3);
        assert_eq!(quarters(&[]), 0);
    }
}
