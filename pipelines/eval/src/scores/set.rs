//! A set of images: a folder, a file of NumPy, or a model that generates them.

use std::path::{Path, PathBuf};

use image::RgbImage;
use nextscale_data::{Dataset, captions::WHITE};
use nextscale_metrics::features::Rows;
use nextscale_metrics::npz::{Npz, Statistics};
use nextscale_metrics::{MetricsError, images};

use crate::error::EvalError;
use crate::measure::OnProgress;
use crate::scores::generated::ModelSet;

/// Where images come from.
#[derive(Debug, Clone)]
pub enum ImageSet {
    /// A folder of images with its subfolders, a data set, whose training images are meant, or a `.npz` file of statistics or of images.
    Path(PathBuf),
    /// A model that generates them.
    Model(ModelSet),
}

/// Images that are there at the same time.
pub(crate) struct Batch<'a> {
    pub images: Vec<RgbImage>,
    /// The file of each, for a folder.
    pub files: &'a [PathBuf],
    /// The prompt of each, for a model.
    pub prompts: &'a [String],
}

impl ImageSet {
    /// What reports and errors call it.
    pub(crate) fn name(&self) -> String {
        match self {
            ImageSet::Path(path) => path.display().to_string(),
            ImageSet::Model(set) => format!("{}, {} images", set.model, set.count),
        }
    }

    /// The statistics that a file holds, if it is one with statistics.
    pub(crate) fn statistics(&self) -> Result<Option<Statistics>, EvalError> {
        let Some(path) = self.file() else {
            return Ok(None);
        };
        let mut file = Npz::open(path)?;
        let statistics = (file.has("mu") || !file.has("arr_0")).then(|| file.statistics());
        Ok(statistics.transpose()?)
    }

    /// The `.npz` file.
    fn file(&self) -> Option<&Path> {
        match self {
            ImageSet::Path(path) if !path.is_dir() => Some(path),
            _ => None,
        }
    }

    /// Calls `each` with all images, at most `batch` at a time.
    ///
    /// # Errors
    /// If images cannot be read or generated, or `each` fails.
    pub(crate) fn for_each(
        &self,
        batch: usize,
        progress: OnProgress<'_>,
        each: &mut dyn FnMut(Batch<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        match self {
            ImageSet::Model(set) => set.generate(batch, progress, each),
            ImageSet::Path(path) if Dataset::is_at(path) => of_data(path, batch, progress, each),
            ImageSet::Path(path) if path.is_dir() => {
                let all = images::list(path)?;
                let mut done = 0;
                for files in all.chunks(batch) {
                    let images = images::read_all(files)?;
                    done += images.len();
                    let prompts = &[];
                    each(Batch {
                        images,
                        files,
                        prompts,
                    })?;
                    progress(done, all.len());
                }
                Ok(())
            }
            ImageSet::Path(path) => {
                let mut done = 0;
                Npz::open(path)?.images(batch, |images, count| {
                    done += images.len();
                    let (files, prompts) = (&[], &[]);
                    each(Batch {
                        images,
                        files,
                        prompts,
                    })?;
                    progress(done, count);
                    Ok(())
                })
            }
        }
    }

    /// The rows that `describe` makes of all images.
    pub(crate) fn rows(
        &self,
        batch: usize,
        label: &str,
        progress: OnProgress<'_>,
        describe: &dyn Fn(&[RgbImage]) -> Result<Rows, MetricsError>,
    ) -> Result<Rows, EvalError> {
        let mut all: Option<Rows> = None;
        self.for_each(batch, progress, &mut |batch| {
            let rows = describe(&batch.images)?;
            let dims = rows.dims;
            let all = all.get_or_insert_with(|| Rows::empty(dims));
            Ok(all.extend(&rows, label)?)
        })?;
        all.ok_or(EvalError::NoPrompt)
    }
}

/// Calls `each` with the training images of a data set, on white.
fn of_data(
    folder: &Path,
    batch: usize,
    progress: OnProgress<'_>,
    each: &mut dyn FnMut(Batch<'_>) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let set = Dataset::load(folder)?;
    let all = set.train_ids();
    let mut done = 0;
    for ids in all.chunks(batch) {
        let images = ids.iter().map(|&id| set.picture(id, WHITE));
        let (files, prompts) = (&[], &[]);
        each(Batch {
            images: images.collect(),
            files,
            prompts,
        })?;
        done += ids.len();
        progress(done, all.len());
    }
    Ok(())
}
