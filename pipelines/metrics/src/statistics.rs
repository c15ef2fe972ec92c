//! Mean and covariance of features, summed in f64 as the images come.

use nalgebra::{DMatrix, DVector};

use crate::error::{MetricsError, Result};
use crate::features::Rows;

/// The Gaussian that a set of features is taken for.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaussian {
    /// The mean of each feature.
    pub mean: DVector<f64>,
    /// Their covariance, with the divisor n - 1.
    pub covariance: DMatrix<f64>,
}

impl Gaussian {
    /// Number of features.
    pub fn dims(&self) -> usize {
        self.mean.len()
    }
}

/// Sums of features and of their products: memory of one matrix, however many images there are.
#[derive(Debug, Clone)]
pub struct Moments {
    count: usize,
    /// The first row: what is summed are differences to it, which are exact where the mean is large.
    origin: Option<DVector<f64>>,
    sum: DVector<f64>,
    products: DMatrix<f64>,
}

impl Moments {
    /// No images yet, of `dims` features each.
    pub fn new(dims: usize) -> Self {
        Self {
            count: 0,
            origin: None,
            sum: DVector::zeros(dims),
            products: DMatrix::zeros(dims, dims),
        }
    }

    /// Adds images. `network` is who made the features.
    ///
    /// # Errors
    /// If they have another number of features, or one is not finite.
    pub fn add(&mut self, rows: &Rows, network: &str) -> Result<()> {
        let dims = self.sum.len();
        if rows.dims != dims {
            let found = rows.dims;
            let message = format!("{network} gave {found} features an image, not {dims}");
            return Err(MetricsError::Mismatch(message));
        }
        rows.check(network, self.count)?;
        let values = rows.values.iter().copied().map(f64::from);
        let mut columns = DMatrix::from_iterator(dims, rows.len(), values);
        if rows.is_empty() {
            return Ok(());
        }
        let first = || columns.column(0).into_owned();
        let origin = self.origin.get_or_insert_with(first);
        for mut column in columns.column_iter_mut() {
            column -= &*origin;
        }
        self.sum += columns.column_sum();
        self.products.gemm(1.0, &columns, &columns.transpose(), 1.0);
        self.count += rows.len();
        Ok(())
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Mean and covariance of the images that were added.
    ///
    /// # Errors
    /// If there are fewer than two; `what` says which images.
    pub fn gaussian(&self, what: &str) -> Result<Gaussian> {
        let (Some(origin), 2..) = (&self.origin, self.count) else {
            return Err(MetricsError::TooFew {
                what: what.to_owned(),
                found: self.count,
                figure: "a covariance",
                needed: 2,
                reason: "one image has no spread",
            });
        };
        let count = self.count as f64;
        let mean = &self.sum / count;
        let mut covariance = self.products.clone();
        covariance.ger(-count, &mean, &mean, 1.0);
        covariance /= count - 1.0;
        Ok(Gaussian {
            mean: mean + origin,
            covariance,
        })
    }
}
