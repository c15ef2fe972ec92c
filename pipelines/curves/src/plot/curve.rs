//! Curves: how they look, how they are smoothed and thinned.

use plotters::style::RGBColor;

/// A point of a curve: where on the horizontal axis, and its value.
pub(crate) type Point = (f64, f64);

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stroke {
    /// A line.
    Solid,
    /// A dashed line.
    Dashed,
    /// A line with its points.
    Marked,
    /// A line in the background.
    Faint,
}

/// The axis that a curve is measured on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    /// The one on the left.
    Left,
    /// The one on the right.
    Right,
}

/// A curve of a panel.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// Its points from left to right.
    pub(crate) points: Vec<Point>,
    /// Its colour.
    pub(crate) colour: RGBColor,
    /// How it is drawn.
    pub(crate) stroke: Stroke,
    /// The axis that it is measured on.
    pub(crate) side: Side,
}

/// Exponential moving average with a span of this many points. Its start is not drawn towards zero.
pub(crate) fn average(points: &[Point], span: f64) -> Vec<Point> {
    let keep = 1.0 - 2.0 / (span.max(1.0) + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    points
        .iter()
        .map(|(at, value)| {
            sum = keep * sum + value;
            weight = keep * weight + 1.0;
            (*at, sum / weight)
        })
        .collect()
}

/// At most about `count` points that look the same: the lowest and the highest of each group of neighbours.
pub(crate) fn thin(points: Vec<Point>, count: usize) -> Vec<Point> {
    let group = (2 * points.len()).div_ceil(count.max(4));
    if group <= 2 {
        return points;
    }
    let lowest = |a: &usize, b: &usize, group: &[Point]| group[*a].1.total_cmp(&group[*b].1);
    let mut thinned: Vec<Point> = points
        .chunks(group)
        .flat_map(|group| {
            let low = (0..group.len()).min_by(|a, b| lowest(a, b, group));
            let high = (0..group.len()).max_by(|a, b| lowest(a, b, group));
            let (low, high) = (low.unwrap_or(0), high.unwrap_or(0));
            [group[low.min(high)], group[low.max(high)]]
        })
        .collect();
    // A curve ends where the run ends.
    thinned.extend(points.last());
    thinned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_follow_the_values() {
        let flat: Vec<Point> = (0..50).map(|i| (f64::from(i), 3.0)).collect();
        for (_, value) in average(&flat, 10.0) {
            assert!((value - 3.0).abs() < 1e-12);
        }
        let jump = average(&[(0.0, 0.0), (1.0, 1.0)], 3.0);
        assert!((jump[1].1 - 1.0 / 1.5).abs() < 1e-12, "{jump:?}");
        assert_eq!(
            average(&[(0.0, 5.0), (1.0, 1.0)], 1.0)[1].1,
            1.0,
            "not smoothed"
        );
    }

    #[test]
    fn thinning_keeps_peaks_and_the_end() {
        let mut points: Vec<Point> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        (points[5001].1, points[5003].1) = (9.0, -9.0);
        let thinned = thin(points.clone(), 400);
        assert!(thinned.len() < 450, "{}", thinned.len());
        let at = thinned.iter().position(|point| point.1 == 9.0).unwrap();
        assert_eq!(thinned[at + 1], (5003.0, -9.0));
        assert_eq!(thinned.last(), points.last());
        assert!(thinned.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert_eq!(thin(points[..100].to_vec(), 400).len(), 100);
    }
}
