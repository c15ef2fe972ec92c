//! Power laws, `y = a x^b`: straight lines in logarithms.

use serde::Serialize;

/// A power law through points, by least squares of the logarithms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PowerLaw {
    /// `b`.
    pub exponent: f64,
    /// The standard error of `b`; none through two points.
    pub error: Option<f64>,
    /// `a`.
    pub factor: f64,
    /// Pearson's coefficient of the logarithms; none where all `y` are the same.
    pub pearson: Option<f64>,
    /// The points.
    pub points: usize,
}

impl PowerLaw {
    /// The law through points with positive coordinates; the others are left out. None through fewer than two different `x`.
    pub fn through(points: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let positive = |&(x, y): &(f64, f64)| x > 0.0 && y > 0.0 && x.is_finite() && y.is_finite();
        let points: Vec<(f64, f64)> = points
            .into_iter()
            .filter(positive)
            .map(|(x, y)| (x.ln(), y.ln()))
            .collect();
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|(x, y)| of(x - mx, y - my)).sum()
        };
        let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
        if points.len() < 2 || xx < 1e-12 {
            return None;
        }
        let exponent = xy / xx;
        let left = (yy - exponent * xy).max(0.0);
        Some(Self {
            exponent,
            error: (points.len() > 2).then(|| (left / (n - 2.0) / xx).sqrt()),
            factor: (my - exponent * mx).exp(),
            pearson: (yy > 1e-24).then(|| xy / (xx * yy).sqrt()),
            points: points.len(),
        })
    }

    /// `a x^b`.
    pub fn at(&self, x: f64) -> f64 {
        self.factor * x.powf(self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_is_found() {
        let points = [1.0, 2.0, 4.0, 9.0].map(|x: f64| (x, 3.0 * x.powf(-0.2)));
        let law = PowerLaw::through(points).unwrap();
        assert!((law.exponent + 0.2).abs() < 1e-12 && (law.factor - 3.0).abs() < 1e-12);
        assert!(law.error.unwrap() < 1e-9 && (law.pearson.unwrap() + 1.0).abs() < 1e-9);
        assert!((law.at(16.0) - 3.0 * 16f64.powf(-0.2)).abs() < 1e-12);
    }

    /// Against a regression of the logarithms by NumPy.
    #[test]
    fn errors_are_those_of_a_regression() {
        let law = PowerLaw::through([(1.0, 1.0), (2.0, 3.0), (4.0, 9.0), (8.0, 20.0)]).unwrap();
        assert!((law.exponent - 1.455_074_7).abs() < 1e-6, "{law:?}");
        assert!((law.error.unwrap() - 0.074_990_8).abs() < 1e-6, "{law:?}");
        assert!((law.pearson.unwrap() - 0.997_354_4).abs() < 1e-6, "{law:?}");
    }

    #[test]
    fn what_is_no_law_is_none() {
        assert!(PowerLaw::through([(1.0, 1.0)]).is_none());
        assert!(PowerLaw::through([(2.0, 1.0), (2.0, 5.0)]).is_none());
        assert!(PowerLaw::through([(1.0, -1.0), (2.0, f64::NAN), (3.0, 1.0)]).is_none());
        assert_eq!(
            PowerLaw::through([(1.0, 2.0), (2.0, 2.0)]).unwrap().pearson,
            None
        );
    }
}
