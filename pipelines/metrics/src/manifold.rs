//! Improved precision and recall (arXiv 1904.06991), as in the reference, ADM's evaluator and `torch-fidelity`: each set is taken for the
//! union of balls around its images, which reach to the third nearest other image of the set.

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{MetricsError, Result};
use crate::features::Rows;

/// Which of its neighbours a ball reaches to.
pub const NEIGHBOUR: usize = 3;
/// Images whose distances to all others are computed at once.
const CHUNK: usize = 1024;

/// Both shares, 0..=1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecall {
    /// Share of the generated images that lie in a ball of a real one: quality.
    pub precision: f64,
    /// Share of the real images that lie in a ball of a generated one: variety.
    pub recall: f64,
}

/// Precision and recall of the features of generated images, with the distances computed on `device`.
///
/// # Errors
/// If the features have different lengths, a set has too few images, or the device fails.
pub fn precision_recall(generated: &Rows, real: &Rows, device: &Device) -> Result<PrecisionRecall> {
    if generated.dims != real.dims {
        let (one, other) = (generated.dims, real.dims);
        let message = format!("the two sets have {one} and {other} features");
        return Err(MetricsError::Mismatch(message));
    }
    for (what, rows) in [("the generated set", generated), ("the real set", real)] {
        if rows.len() <= NEIGHBOUR {
            return Err(MetricsError::TooFew {
                what: what.to_owned(),
                found: rows.len(),
                figure: "precision and recall",
                needed: NEIGHBOUR + 1,
                reason: "each image needs a third nearest neighbour",
            });
        }
    }
    let centre = centre(real);
    let generated = Points::new(generated, &centre, device);
    let real = Points::new(real, &centre, device);
    Ok(PrecisionRecall {
        precision: generated.share_within(&real, &real.radii()?)?,
        recall: real.share_within(&generated, &generated.radii()?)?,
    })
}

/// The mean of all rows: distances of points around the origin lose the least to rounding.
fn centre(rows: &Rows) -> Vec<f64> {
    let mut sums = vec![0.0; rows.dims];
    for row in rows.iter() {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let count = rows.len() as f64;
    sums.into_iter().map(|sum| sum / count).collect()
}

/// Vectors around the origin, and the squares of their lengths.
struct Points {
    rows: Tensor<2>,
    squares: Vec<f64>,
}

impl Points {
    fn new(rows: &Rows, centre: &[f64], device: &Device) -> Self {
        let (mut values, mut squares) = (Vec::with_capacity(rows.values.len()), Vec::new());
        for row in rows.iter() {
            let moved = row.iter().zip(centre);
            let moved = moved.map(|(value, middle)| (f64::from(*value) - middle) as f32);
            let from = values.len();
            values.extend(moved);
            let square = |value: &f32| f64::from(*value).powi(2);
            squares.push(values[from..].iter().map(square).sum());
        }
        let data = TensorData::new(values, [rows.len(), rows.dims]);
        Self {
            rows: Tensor::from_data(data, device),
            squares,
        }
    }

    /// Calls `each` with the number of a point and its squared distances to all of `others`.
    fn distances(&self, others: &Self, mut each: impl FnMut(usize, Vec<f64>)) -> Result<()> {
        let count = self.squares.len();
        let transposed = others.rows.clone().transpose();
        for start in (0..count).step_by(CHUNK) {
            let length = CHUNK.min(count - start);
            let products = self.rows.clone().narrow(0, start, length);
            let products = Rows::of(products.matmul(transposed.clone()))?;
            for (at, row) in products.iter().enumerate() {
                let own = self.squares[start + at];
                let pairs = row.iter().zip(&others.squares);
                let one = |(product, other): (&f32, &f64)| {
                    (own + other - 2.0 * f64::from(*product)).max(0.0)
                };
                each(start + at, pairs.map(one).collect());
            }
        }
        Ok(())
    }

    /// The squared distance of each point to its third nearest other one.
    fn radii(&self) -> Result<Vec<f64>> {
        let mut radii = vec![0.0; self.squares.len()];
        self.distances(self, |point, mut all| {
            all[point] = 0.0;
            // The nearest is the point itself.
            let (_, radius, _) = all.select_nth_unstable_by(NEIGHBOUR, f64::total_cmp);
            radii[point] = *radius;
        })?;
        Ok(radii)
    }

    /// The share of points in a ball around one of `centres`.
    fn share_within(&self, centres: &Self, radii: &[f64]) -> Result<f64> {
        let mut within = 0usize;
        self.distances(centres, |_, all| {
            let mut pairs = all.iter().zip(radii);
            within += usize::from(pairs.any(|(distance, radius)| distance <= radius));
        })?;
        Ok(within as f64 / self.squares.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f32]) -> Rows {
        Rows {
            dims: 1,
            values: values.to_vec(),
        }
    }

    #[test]
    fn balls_of_points_on_a_line() {
        let real = rows(&[0.0, 1.0, 2.0, 3.0, 100.0]);
        let device = Device::flex();
        let of = |generated: &[f32]| precision_recall(&rows(generated), &real, &device).unwrap();
        // The ball around 0 reaches to 3, that around 100 to 1: all but the last lie in one.
        let some = of(&[1.5, 2.5, -3.0, 60.0, 1000.0]);
        assert!((some.precision - 0.8).abs() < 1e-9, "{some:?}");
        let same = of(&[0.0, 1.0, 2.0, 3.0, 100.0]);
        assert_eq!((same.precision, same.recall), (1.0, 1.0));
        let apart = of(&[1e4, 1e4 + 1.0, 1e4 + 2.0, 1e4 + 3.0]);
        assert_eq!((apart.precision, apart.recall), (0.0, 0.0));
    }

    #[test]
    fn too_few_images_are_refused() {
        let message = precision_recall(&rows(&[0.0; 3]), &rows(&[0.0; 9]), &Device::flex());
        let message = message.unwrap_err().to_string();
        assert!(
            message.contains("3 images") && message.contains("at least 4"),
            "{message}"
        );
    }
}
