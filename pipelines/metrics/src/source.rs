//! Weight files that the user names, read strictly: a tensor that is missing, of another shape or not finite is an error that says which
//! file it should have been.

use std::fmt::Display;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use nextscale_weights::WeightFile;

use crate::error::{MetricsError, Result};

/// An open weight file of one part of a metric.
pub(crate) struct Source {
    file: WeightFile,
    part: &'static str,
    hint: &'static str,
}

impl Source {
    /// Opens the file of `part`; `hint` says what it should be.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn open(part: &'static str, path: &Path, hint: &'static str) -> Result<Self> {
        let file = WeightFile::open(path).map_err(|error| wrong(part, error, hint))?;
        Ok(Self { file, part, hint })
    }

    /// The shape of a tensor; none if there is no tensor of that name.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.file.shape(name)
    }

    /// The shape of a tensor that has to be there with `N` axes.
    pub(crate) fn shape_of<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let found = self.shape(name).ok_or_else(|| self.missing(name))?;
        let axes = found.len();
        let message = || format!("`{name}` in {} has {axes} axes, not {N}", self.path());
        found.try_into().map_err(|_| self.wrong(message()))
    }

    /// One more than the largest number that follows `prefix` in a name.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.file.count(prefix)
    }

    /// The numbers of a tensor in f32.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let found = self.shape(name).ok_or_else(|| self.missing(name))?;
        if found != shape {
            let path = self.path();
            let message = format!("`{name}` in {path} has shape {found:?}, not {shape:?}");
            return Err(self.wrong(message));
        }
        let data = self.file.read(name).map_err(|error| self.wrong(error))?;
        let values: Vec<f32> = data.convert::<f32>().iter::<f32>().collect();
        if !values.iter().all(|value| value.is_finite()) {
            let path = self.path();
            let message = format!("`{name}` in {path} has numbers that are not finite");
            return Err(self.wrong(message));
        }
        Ok(values)
    }

    /// A tensor in f32 on `device`.
    pub(crate) fn tensor<const N: usize>(
        &self,
        name: &str,
        shape: [usize; N],
        device: &Device,
    ) -> Result<Tensor<N>> {
        let values = self.values(name, &shape)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// An error about this file.
    pub(crate) fn wrong(&self, reason: impl Display) -> MetricsError {
        wrong(self.part, reason, self.hint)
    }

    /// The path, as errors show it.
    pub(crate) fn path(&self) -> String {
        self.file.path().display().to_string()
    }

    fn missing(&self, name: &str) -> MetricsError {
        self.wrong(format!("{} has no tensor `{name}`", self.path()))
    }
}

fn wrong(part: &'static str, reason: impl Display, hint: &'static str) -> MetricsError {
    MetricsError::Weights {
        part,
        reason: reason.to_string(),
        hint,
    }
}
