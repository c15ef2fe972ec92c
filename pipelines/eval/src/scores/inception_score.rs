//! `nextscale eval is`: the Inception Score of a set of images.

use nextscale_metrics::inception_score::{SPLITS, of};
use serde::Serialize;

use crate::error::EvalError;
use crate::measure::{Measured, OnProgress};
use crate::scores::network::NetworkOptions;
use crate::scores::set::ImageSet;

/// What to measure.
#[derive(Debug, Clone)]
pub struct ScoreOptions {
    /// The images.
    pub images: ImageSet,
    /// The network.
    pub network: NetworkOptions,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct ScoreReport {
    /// Which network the classes come from.
    pub features: String,
    /// The images.
    pub images: String,
    /// How many.
    pub count: usize,
    /// Parts that the score is the mean over.
    pub splits: usize,
    /// The score.
    pub inception_score: f64,
    /// Its standard deviation over the parts.
    pub deviation: f64,
}

/// The score of all images.
///
/// # Errors
/// If images or weights cannot be read, or there are fewer images than parts.
pub fn inception_score(
    options: &ScoreOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<ScoreReport>, EvalError> {
    let network = options.network.open()?;
    let (label, batch) = (network.label(), options.network.batch);
    let logits = options
        .images
        .rows(batch, &label, progress, &|images| network.logits(images))?;
    let score = of(&logits)?;
    Ok(Measured::plain(ScoreReport {
        features: label,
        images: options.images.name(),
        count: logits.len(),
        splits: SPLITS,
        inception_score: score.mean,
        deviation: score.deviation,
    }))
}
