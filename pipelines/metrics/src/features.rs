//! What turns images into the numbers that metrics compare: a trait, so that any network can take the place of Inception.

use burn::tensor::Tensor;
use image::RgbImage;

use crate::error::{MetricsError, Result};

/// A network that describes images by vectors.
pub trait Features {
    /// What every figure made with it is labelled with, such as `Inception-v3, pytorch-fid`.
    fn label(&self) -> String;

    /// Numbers of the vector of one image.
    fn dims(&self) -> usize;

    /// The vector of each image.
    ///
    /// # Errors
    /// If the device fails.
    fn features(&self, images: &[RgbImage]) -> Result<Rows>;

    /// The logits of the classes of each image, for the Inception Score.
    ///
    /// # Errors
    /// If the network knows no classes, or the device fails.
    fn logits(&self, images: &[RgbImage]) -> Result<Rows>;
}

/// Vectors of one length, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Numbers of each vector, at least 1.
    pub dims: usize,
    /// All numbers, row by row.
    pub values: Vec<f32>,
}

impl Rows {
    /// No rows of `dims` numbers.
    pub fn empty(dims: usize) -> Self {
        let values = Vec::new();
        Self { dims, values }
    }

    /// The rows of a tensor `[n, d]`, copied from its device.
    pub fn of(tensor: Tensor<2>) -> Result<Self> {
        let [_, dims] = tensor.dims();
        let data = tensor.try_into_data();
        let data = data.map_err(|e| MetricsError::Device(format!("{e:?}")))?;
        let values = data.convert::<f32>().iter::<f32>().collect();
        Ok(Self { dims, values })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Each row.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dims)
    }

    /// Adds rows of the same length at the end.
    ///
    /// # Errors
    /// If they have another length, or one has a number that is not finite; `network` is who made them.
    pub fn extend(&mut self, more: &Self, network: &str) -> Result<()> {
        if more.dims != self.dims {
            let (one, other) = (self.dims, more.dims);
            let message = format!("{network} gave {other} features an image, not {one}");
            return Err(MetricsError::Mismatch(message));
        }
        more.check(network, self.len())?;
        self.values.extend_from_slice(&more.values);
        Ok(())
    }

    /// Refuses numbers that are not finite; `before` rows of this network came before these.
    pub(crate) fn check(&self, network: &str, before: usize) -> Result<()> {
        let bad = |row: &[f32]| !row.iter().all(|value| value.is_finite());
        match self.iter().position(bad) {
            None => Ok(()),
            Some(row) => Err(MetricsError::NotFinite {
                network: network.to_owned(),
                image: before + row,
            }),
        }
    }
}
