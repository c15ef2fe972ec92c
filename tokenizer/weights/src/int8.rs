//! Rounding numbers to integers of eight bits.

/// The largest integer: -128 is not used, so that the range is symmetric.
const LARGEST: f32 = 127.0;
/// 1.5 times 2^23: a small number added to it is rounded to an integer, ties to even.
const ROUNDING: f32 = 12_582_912.0;
/// Numbers that a processor compares side by side.
const LANES: usize = 16;

/// Rounds finite numbers to multiples of a factor, the largest of them over 127, which is returned.
#[inline(always)]
pub fn round_to_int8(numbers: &[f32], to: &mut [i8]) -> f32 {
    let mut most = [0f32; LANES];
    let (whole, rest) = numbers.as_chunks::<LANES>();
    for numbers in whole {
        for (most, x) in most.iter_mut().zip(numbers) {
            *most = if x.abs() > *most { x.abs() } else { *most };
        }
    }
    let mut largest = 0f32;
    for x in rest.iter().chain(&most) {
        largest = if x.abs() > largest { x.abs() } else { largest };
    }
    let inverse = if largest > 0.0 {
        LARGEST / largest
    } else {
        0.0
    };
    for (to, &from) in to.iter_mut().zip(numbers) {
        // The lowest bits of the sum hold the nearest integer, in two's complement.
        *to = (from * inverse + ROUNDING).to_bits() as i8;
    }
    largest / LARGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_multiples() {
        let mut numbers: Vec<f32> = (0..40).map(|i| (i as f32 - 20.0) * 0.05).collect();
        numbers[7] = -1.27;
        let mut integers = vec![0; 40];
        let factor = round_to_int8(&numbers, &mut integers);
        assert!((factor - 0.01).abs() < 1e-9);
        for (x, i) in numbers.iter().zip(integers) {
            assert!(
                (x - f32::from(i) * factor).abs() <= factor * 0.501,
                "{x} {i}"
            );
        }
        let mut none = [1; 3];
        assert_eq!(round_to_int8(&[0.0, -0.0, 0.0], &mut none), 0.0);
        assert_eq!(none, [0; 3]);
    }
}
