//! How far images are from each other.

/// The median of at least one value.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    }
}

/// The mean colours of `side` x `side` squares of an image, in 0..=255; `side` divides `size`, the image's side.
pub(crate) fn mean_colours(image: &[u8], size: usize, side: usize) -> Vec<f32> {
    let cell = size / side;
    let mut sums = vec![0.0; side * side * 3];
    for (p, pixel) in image.chunks_exact(3).enumerate() {
        let at = (p / size / cell * side + p % size / cell) * 3;
        for (sum, value) in sums[at..at + 3].iter_mut().zip(pixel) {
            *sum += f32::from(*value);
        }
    }
    let area = (cell * cell) as f32;
    sums.into_iter().map(|sum| sum / area).collect()
}

/// The number of other candidates that are at least as near to `query` as its reference; 0 is the best rank.
pub(crate) fn rank(query: &[f32], candidates: &[Vec<f32>], reference: usize) -> usize {
    let distance = |other: &[f32]| -> f64 {
        let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        query.iter().zip(other).map(square).sum()
    };
    let own = distance(&candidates[reference]);
    let others = candidates
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != reference);
    others.filter(|(_, other)| distance(other) <= own).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
    }

    #[test]
    fn coarse_cells_are_means() {
        let mut image = vec![0u8; 4 * 4 * 3];
        image[0] = 40; // red of the first pixel
        image[(3 * 4 + 3) * 3 + 2] = 80; // blue of the last
        let cells = mean_colours(&image, 4, 2);
        assert_eq!(cells.len(), 12);
        assert_eq!((cells[0], cells[11]), (10.0, 20.0));
        assert_eq!(cells.iter().sum::<f32>(), 30.0);
    }

    #[test]
    fn ranks_count_nearer_and_equal_candidates() {
        let candidates = vec![vec![0.0], vec![3.0], vec![1.0], vec![1.0]];
        assert_eq!(rank(&[0.2], &candidates, 0), 0);
        assert_eq!(rank(&[0.2], &candidates, 1), 3);
        assert_eq!(rank(&[1.0], &candidates, 2), 1); // a duplicate of the reference does not help
    }
}
