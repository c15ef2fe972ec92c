//! How much memory a run takes, estimated before anything is loaded.

mod estimate;
mod formats;
mod image;
#[cfg(test)]
mod tests;
mod video;

use std::collections::BTreeMap;

use self::formats::Formats;
use self::image::Images;
use crate::device::Placement;
use crate::error::ModelError;
use crate::manifest::Manifest;
use crate::model::Model;
use crate::size::Size;

pub use self::estimate::{LARGE_TEXT_ENCODER_BYTES, MemoryEstimate};
pub use self::image::TILED_DECODE_PIXELS;
pub(crate) use self::video::decoder_map_bytes;

impl Model {
    /// What images of a size take; `rows` are those of the transformer's batch, two for each image under guidance.
    ///
    /// # Errors
    /// A size without a schedule, and a model of videos.
    pub fn estimate_image(
        &self,
        size: &Size,
        rows: usize,
        placement: &Placement,
    ) -> Result<MemoryEstimate, ModelError> {
        let (formats, rows) = (Formats::of(placement), rows as u64);
        let pixels = (size.width * size.height) as u64;
        let estimate = match self.manifest() {
            Manifest::Infinity(manifest) => {
                let schedule = &size.schedule().map_err(|flaw| flaw.of(self.name()))?;
                let images = Images {
                    schedule,
                    pixels,
                    rows,
                };
                image::infinity(&manifest.transformer, &manifest.vae, images, formats)
            }
            Manifest::Var(manifest) => {
                image::var(&manifest.transformer, &manifest.vae, pixels, rows, formats)
            }
            Manifest::InfinityStar(_) => return Err(self.is_not_of_images()),
        };
        Ok(self.with_parts(estimate))
    }

    /// What one video of a size and number of frames takes.
    ///
    /// # Errors
    /// A size without a schedule, and a model of images.
    pub fn estimate_video(
        &self,
        size: &Size,
        frames: usize,
        guided: bool,
        placement: &Placement,
    ) -> Result<MemoryEstimate, ModelError> {
        let (manifest, formats) = (self.infinity_star()?, Formats::of(placement));
        let estimate = video::infinity_star(manifest, size, frames, guided, formats);
        let estimate = estimate.map_err(|flaw| flaw.of(self.name()))?;
        Ok(self.with_parts(estimate))
    }

    /// With the text encoder, if there are files of it, and the auto-encoder, both in f32.
    fn with_parts(&self, estimate: MemoryEstimate) -> MemoryEstimate {
        let text = match self.manifest().text() {
            Some(text) if self.has_files() => text.parameters() as u64 * 4,
            _ => 0,
        };
        let vae = match self.manifest() {
            Manifest::Infinity(manifest) => f32_bytes(&manifest.vae.keys()),
            Manifest::Var(manifest) => f32_bytes(&manifest.vae.keys()),
            Manifest::InfinityStar(manifest) => f32_bytes(&manifest.vae.keys()),
        };
        MemoryEstimate {
            text,
            vae,
            ..estimate
        }
    }
}

/// Bytes of tensors with these shapes in f32.
fn f32_bytes(keys: &BTreeMap<String, Vec<usize>>) -> u64 {
    let numbers = keys.values().map(|shape| shape.iter().product::<usize>());
    numbers.sum::<usize>() as u64 * 4
}
