//! The Frechet distance of two Gaussians (arXiv 1706.08500): `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`.
//!
//! The trace of the root needs no root: it is the sum of the roots of the eigenvalues of `C1 C2`, which are those of the symmetric
//! `L^T C2 L` with `C1 = L L^T`. `L` is the Cholesky factor of either covariance, or, where both are singular, eigenvectors times the roots of their
//! eigenvalues.

use nalgebra::{Cholesky, DMatrix};

use crate::error::{MetricsError, Result};
use crate::statistics::Gaussian;

/// Below this many images a Frechet distance is biased so much that papers do not report it.
pub const RELIABLE: usize = 10_000;

/// The distance, at least 0 up to rounding.
///
/// # Errors
/// If the two have different numbers of features, or a number is not finite.
pub fn distance(one: &Gaussian, other: &Gaussian) -> Result<f64> {
    let (a, b) = (one.dims(), other.dims());
    if a != b {
        let message = format!(
            "the two sets have {a} and {b} features, and can only be compared in those of one network"
        );
        return Err(MetricsError::Mismatch(message));
    }
    let finite = |gaussian: &Gaussian| {
        let mut all = gaussian.mean.iter().chain(gaussian.covariance.iter());
        all.all(|value| value.is_finite())
    };
    if !finite(one) || !finite(other) {
        let message = "the statistics have numbers that are not finite: make them again";
        return Err(MetricsError::Mismatch(message.to_owned()));
    }
    let means = (&one.mean - &other.mean).norm_squared();
    let spread = one.covariance.trace() + other.covariance.trace();
    Ok(means + spread - 2.0 * trace_of_root(&one.covariance, &other.covariance))
}

/// Refuses a covariance of fewer images than features, which is singular.
///
/// # Errors
/// If `count` is below `dims`; `what` says which images.
pub fn check_count(what: &str, count: usize, dims: usize) -> Result<()> {
    if count >= dims {
        return Ok(());
    }
    Err(MetricsError::TooFew {
        what: what.to_owned(),
        found: count,
        figure: "a Frechet distance",
        needed: dims,
        reason: "with fewer images than features the covariance is singular",
    })
}

/// The trace of the root of a product of two symmetric matrices without negative eigenvalues.
fn trace_of_root(one: &DMatrix<f64>, other: &DMatrix<f64>) -> f64 {
    let cholesky = |matrix: &DMatrix<f64>| Cholesky::new(matrix.clone()).map(Cholesky::unpack);
    let (factor, other) = match cholesky(one) {
        Some(factor) => (factor, other),
        None => match cholesky(other) {
            Some(factor) => (factor, one),
            None => (by_eigenvalues(one), other),
        },
    };
    let mut product = factor.transpose() * (other * &factor);
    product = (&product + product.transpose()) / 2.0;
    let values = product.symmetric_eigenvalues();
    values.iter().map(|value| value.max(0.0).sqrt()).sum()
}

/// `L` with `matrix = L L^T`, for a singular matrix.
fn by_eigenvalues(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = matrix.clone().symmetric_eigen();
    let mut factor = eigen.eigenvectors;
    for (mut column, value) in factor.column_iter_mut().zip(eigen.eigenvalues.iter()) {
        column *= value.max(0.0).sqrt();
    }
    factor
}
