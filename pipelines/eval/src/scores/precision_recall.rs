//! `nextscale eval precision-recall`: quality and variety of a set of images.

use nextscale_metrics::manifold::{self, NEIGHBOUR};
use serde::Serialize;

use crate::error::EvalError;
use crate::measure::{Measured, OnProgress};
use crate::scores::fid::SetReport;
use crate::scores::network::NetworkOptions;
use crate::scores::set::ImageSet;

/// What to compare.
#[derive(Debug, Clone)]
pub struct ManifoldOptions {
    /// The generated images.
    pub images: ImageSet,
    /// The real images.
    pub reference: ImageSet,
    /// The network.
    pub network: NetworkOptions,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct ManifoldReport {
    /// Which network the features come from.
    pub features: String,
    /// The generated images.
    pub images: SetReport,
    /// The real ones.
    pub reference: SetReport,
    /// Which neighbour the balls reach to.
    pub neighbour: usize,
    /// Share of the generated images that lie among the real ones.
    pub precision: f64,
    /// Share of the real images that lie among the generated ones.
    pub recall: f64,
}

/// Precision and recall.
///
/// # Errors
/// If images or weights cannot be read, or a set has too few images.
pub fn precision_recall(
    options: &ManifoldOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<ManifoldReport>, EvalError> {
    let network = options.network.open()?;
    let (label, batch) = (network.label(), options.network.batch);
    let rows =
        |set: &ImageSet| set.rows(batch, &label, progress, &|images| network.features(images));
    let (generated, real) = (rows(&options.images)?, rows(&options.reference)?);
    let device = options.network.device()?;
    let both = manifold::precision_recall(&generated, &real, &device)?;
    let report = |set: &ImageSet, count| SetReport {
        name: set.name(),
        count: Some(count),
    };
    Ok(Measured::plain(ManifoldReport {
        images: report(&options.images, generated.len()),
        reference: report(&options.reference, real.len()),
        features: label,
        neighbour: NEIGHBOUR,
        precision: both.precision,
        recall: both.recall,
    }))
}
