//! The classifier in the place of Inception.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use crate::classifier::model::Classifier;
use crate::error::{MetricsError, Result};
use crate::features::{Features, Rows};

/// A trained classifier and what it was trained on.
#[derive(Debug)]
pub struct ClassifierFeatures {
    model: Classifier,
    side: usize,
    label: String,
    device: Device,
}

impl ClassifierFeatures {
    /// A classifier of images of `side` x `side` pixels. `label` says which one: every figure is labelled with it.
    pub fn new(model: Classifier, side: usize, label: String, device: &Device) -> Self {
        Self {
            model,
            side,
            label,
            device: device.clone(),
        }
    }

    /// Number of the classes.
    pub fn classes(&self) -> usize {
        let [_, classes] = self.model.head.weight.dims();
        classes
    }

    /// Features and logits in one pass.
    ///
    /// # Errors
    /// As [`Features::features`].
    pub fn both(&self, images: &[RgbImage]) -> Result<(Rows, Rows)> {
        let features = self.pooled(images)?;
        let logits = self.model.logits(features.clone());
        Ok((Rows::of(features)?, Rows::of(logits)?))
    }

    /// `[n, d]`.
    fn pooled(&self, images: &[RgbImage]) -> Result<Tensor<2>> {
        let side = self.side as u32;
        let mut values = Vec::with_capacity(images.len() * 3 * self.side * self.side);
        for image in images {
            let (w, h) = image.dimensions();
            if (w, h) != (side, side) {
                let message = format!(
                    "the {} describes images of {side}x{side} pixels, not of {w}x{h}",
                    self.label
                );
                return Err(MetricsError::Mismatch(message));
            }
            let bytes = image.as_raw().iter();
            values.extend(bytes.map(|&byte| f32::from(byte) / 127.5 - 1.0));
        }
        let shape = [images.len(), self.side, self.side, 3];
        let rows = Tensor::<4>::from_data(TensorData::new(values, shape), &self.device);
        Ok(self.model.features(rows.permute([0, 3, 1, 2])))
    }
}

impl Features for ClassifierFeatures {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn dims(&self) -> usize {
        self.model.norm.weight.dims()[0]
    }

    fn features(&self, images: &[RgbImage]) -> Result<Rows> {
        Rows::of(self.pooled(images)?)
    }

    fn logits(&self, images: &[RgbImage]) -> Result<Rows> {
        Rows::of(self.model.logits(self.pooled(images)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::ClassifierConfig;

    fn network() -> ClassifierFeatures {
        let device = Device::flex();
        let config = ClassifierConfig {
            channels: vec![8, 16],
        };
        let label = "classifier of dots".to_owned();
        ClassifierFeatures::new(config.init(3, &device), 8, label, &device)
    }

    #[test]
    fn an_image_is_described_alike_in_every_batch() {
        let network = network();
        let [one, other] = [10, 200].map(|grey| {
            RgbImage::from_fn(8, 8, |x, y| {
                image::Rgb([grey, (20 * x) as u8, (9 * y) as u8])
            })
        });
        let both = network.features(&[one.clone(), other]).unwrap();
        assert_eq!((both.dims, both.len(), network.dims()), (16, 2, 16));
        let alone = network.features(std::slice::from_ref(&one)).unwrap();
        let first = &both.values[..16];
        let apart = first.iter().zip(&alone.values).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5);
        let logits = network.logits(std::slice::from_ref(&one)).unwrap();
        assert_eq!(logits.dims, 3);
        assert_eq!(network.both(&[one]).unwrap(), (alone, logits));
    }

    #[test]
    fn another_size_is_refused() {
        let error = network().features(&[RgbImage::new(8, 9)]).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("the classifier of dots describes images of 8x8 pixels, not of 8x9"),
            "{message}"
        );
    }
}
