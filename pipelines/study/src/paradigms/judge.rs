//! How good images are: distances and shares in the features of a classifier.

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use nextscale_metrics::classifier::ClassifierFeatures;
use nextscale_metrics::features::{Features as _, Rows};
use nextscale_metrics::statistics::{Gaussian, Moments};
use nextscale_metrics::{frechet, inception_score, manifold};
use nextscale_models::pixels;
use serde::{Deserialize, Serialize};

use crate::error::StudyError;

/// How good images are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Scores {
    /// Frechet distance to the reference.
    pub frechet: f64,
    /// The Inception Score's formula with the classifier's classes.
    pub inception: f64,
    pub precision: f64,
    pub recall: f64,
}

/// Compares images with real ones.
pub(super) struct Judge {
    network: ClassifierFeatures,
    reference: Rows,
    gaussian: Gaussian,
    device: Device,
}

impl Judge {
    /// Compares with these real images.
    pub fn new(
        network: ClassifierFeatures,
        reference: impl Iterator<Item = RgbImage>,
        device: &Device,
    ) -> Result<Self, StudyError> {
        let mut described = Described::new(&network);
        let mut reference = reference.peekable();
        while reference.peek().is_some() {
            let batch: Vec<RgbImage> = reference.by_ref().take(AT_ONCE).collect();
            described.add(&network, &batch)?;
        }
        let gaussian = described.gaussian(&network, "the reference")?;
        let reference = described.features;
        Ok(Self {
            network,
            reference,
            gaussian,
            device: device.clone(),
        })
    }

    /// What the features are of.
    pub fn label(&self) -> String {
        self.network.label()
    }

    /// Begins with no image.
    pub fn describe(&self) -> Described {
        Described::new(&self.network)
    }

    /// Adds images.
    pub fn add(&self, described: &mut Described, images: &[RgbImage]) -> Result<(), StudyError> {
        described.add(&self.network, images)
    }

    /// Compares images with the reference.
    pub fn scores(&self, described: &Described) -> Result<Scores, StudyError> {
        let gaussian = described.gaussian(&self.network, "the generated set")?;
        let shares =
            manifold::precision_recall(&described.features, &self.reference, &self.device)?;
        Ok(Scores {
            frechet: frechet::distance(&gaussian, &self.gaussian)?,
            inception: inception_score::of(&described.logits)?.mean,
            precision: shares.precision,
            recall: shares.recall,
        })
    }
}

/// Images that are described at once.
pub(super) const AT_ONCE: usize = 64;

/// What the network says of images.
pub(super) struct Described {
    features: Rows,
    logits: Rows,
}

impl Described {
    fn new(network: &ClassifierFeatures) -> Self {
        Self {
            features: Rows::empty(network.dims()),
            logits: Rows::empty(network.classes()),
        }
    }

    fn add(&mut self, network: &ClassifierFeatures, images: &[RgbImage]) -> Result<(), StudyError> {
        let label = network.label();
        let (features, logits) = network.both(images)?;
        self.features.extend(&features, &label)?;
        Ok(self.logits.extend(&logits, &label)?)
    }

    fn gaussian(&self, network: &ClassifierFeatures, what: &str) -> Result<Gaussian, StudyError> {
        frechet::check_count(what, self.features.len(), network.dims())?;
        let mut moments = Moments::new(network.dims());
        moments.add(&self.features, &network.label())?;
        Ok(moments.gaussian(what)?)
    }
}

/// Images of pixels `[b, 3, h, w]` in [-1, 1], as a file would have them.
pub(super) fn images(pixels: Tensor<4>) -> Result<Vec<RgbImage>, StudyError> {
    let [_, _, h, w] = pixels.dims();
    let bytes = pixels::to_bytes(pixels).map_err(|error| StudyError::Nothing {
        reason: error.to_string(),
    })?;
    let images = bytes.into_iter();
    let images = images.map(|bytes| RgbImage::from_raw(w as u32, h as u32, bytes));
    Ok(images
        .map(|image| image.expect("bytes of an image"))
        .collect())
}
