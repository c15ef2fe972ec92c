//! `nextscale eval fid`: the Frechet distance between two sets of images.

use std::path::PathBuf;

use nextscale_metrics::features::Features;
use nextscale_metrics::frechet;
use nextscale_metrics::npz::{self, Statistics};
use nextscale_metrics::statistics::Moments;
use serde::Serialize;

use crate::error::EvalError;
use crate::measure::{Measured, OnProgress};
use crate::scores::network::{NetworkOptions, label};
use crate::scores::set::ImageSet;

/// What to compare.
#[derive(Debug, Clone)]
pub struct FidOptions {
    /// The generated images, or their statistics.
    pub images: ImageSet,
    /// The real images, or their statistics; absent if statistics are only written.
    pub reference: Option<ImageSet>,
    /// Where to write the statistics of `images`, as `pytorch-fid` and `clean-fid` read them.
    pub save_statistics: Option<PathBuf>,
    /// The network.
    pub network: NetworkOptions,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct FidReport {
    /// Which network the features come from.
    pub features: String,
    /// The generated images.
    pub images: SetReport,
    /// The real ones.
    pub reference: Option<SetReport>,
    /// The distance; none without a reference.
    pub fid: Option<f64>,
    /// The distance of spatial features, where both files have ADM's statistics of them.
    pub sfid: Option<f64>,
    /// What makes the figure unreliable, one sentence each.
    pub warnings: Vec<String>,
}

/// One set of images.
#[derive(Debug, Serialize)]
pub struct SetReport {
    /// Its folder, file or model.
    pub name: String,
    /// How many images; unknown for statistics from a file.
    pub count: Option<usize>,
}

/// The distance, in features of a network that is only read if images have to be described.
///
/// # Errors
/// If images or weights cannot be read, there are too few images, or statistics do not fit together.
pub fn fid(
    options: &FidOptions,
    progress: OnProgress<'_>,
) -> Result<Measured<FidReport>, EvalError> {
    let mut network = None;
    let mut describe = |set: &ImageSet| -> Result<_, EvalError> {
        if let Some(statistics) = set.statistics()? {
            return Ok((statistics, None));
        }
        let network = match &mut network {
            Some(known) => known,
            none => none.insert(options.network.open()?),
        };
        of_images(set, network.as_ref(), options.network.batch, progress)
    };
    let (statistics, count) = describe(&options.images)?;
    if let Some(path) = &options.save_statistics {
        npz::write(path, &statistics)?;
    }
    let reference = options.reference.as_ref().map(&mut describe).transpose()?;
    let between = |pair: Option<(_, _)>| pair.map(|(a, b)| frechet::distance(a, b)).transpose();
    let other = reference.as_ref().map(|(statistics, _)| statistics);
    let fid = between(other.map(|other| (&statistics.main, &other.main)))?;
    let spatial = other.and_then(|other| other.spatial.as_ref());
    let sfid = between(statistics.spatial.as_ref().zip(spatial))?;
    let mut sets = vec![(&options.images, count)];
    if let (Some(set), Some((_, count))) = (&options.reference, &reference) {
        sets.push((set, *count));
    }
    let warnings = sets.iter().filter_map(|(set, count)| warning(set, *count));
    let report = |(set, count): &(&ImageSet, Option<usize>)| SetReport {
        name: set.name(),
        count: *count,
    };
    Ok(Measured::plain(FidReport {
        features: label(network.as_deref()),
        images: report(&sets[0]),
        reference: sets.get(1).map(report),
        fid,
        sfid,
        warnings: warnings.collect(),
    }))
}

/// The statistics of a set in the features of any network, and how many images it has.
///
/// # Errors
/// If there are fewer images than features.
pub(crate) fn of_images(
    set: &ImageSet,
    network: &dyn Features,
    batch: usize,
    progress: OnProgress<'_>,
) -> Result<(Statistics, Option<usize>), EvalError> {
    let (label, mut moments) = (network.label(), Moments::new(network.dims()));
    set.for_each(batch, progress, &mut |batch| {
        Ok(moments.add(&network.features(&batch.images)?, &label)?)
    })?;
    let count = moments.count();
    frechet::check_count(&set.name(), count, network.dims())?;
    let main = moments.gaussian(&set.name())?;
    let spatial = None;
    Ok((Statistics { main, spatial }, Some(count)))
}

/// What is said of a set that is too small to be compared with figures of papers.
fn warning(set: &ImageSet, count: Option<usize>) -> Option<String> {
    let (name, count) = (set.name(), count?);
    let enough = frechet::RELIABLE;
    (count < enough).then(|| {
        format!("{name} has {count} images: below {enough} the distance comes out too large, so compare it only with distances of as many")
    })
}
