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
use crate::generator::VideoPlan;
use crate::manifest::Manifest;
use crate::model::Model;
use crate::size::Size;

pub use self::estimate::{LARGE_TEXT_ENCODER_BYTES, MemoryEstimate};
pub use self::image::{ImageRun, TILED_DECODE_PIXELS};
pub(crate) use self::video::decoder_map_bytes;

impl Model {
    /// What images of a size take.
    ///
    /// # Errors
    /// A size without a schedule, and a model of videos.
    pub fn estimate_image(
        &self,
        size: &Size,
        run: &ImageRun,
        placement: &Placement,
    ) -> Result<MemoryEstimate, ModelError> {
        let formats = Formats::of(placement);
        let pixels = (size.width * size.height) as u64;
        let estimate = match self.manifest() {
            Manifest::Infinity(manifest) => {
                let schedule = &size.schedule().map_err(|flaw| flaw.of(self.name()))?;
                let source = if manifest.edits_by_instruction {
                    schedule.last().tokens()
                } else {
                    0
                };
                let images = Images {
                    schedule,
                    source,
                    pixels,
                    run,
                };
                image::infinity(&manifest.transformer, &manifest.vae, images, formats)
            }
            Manifest::Var(manifest) => {
                let images = Images {
                    schedule: &manifest.transformer.schedule,
                    source: 0,
                    pixels,
                    run,
                };
                image::var(&manifest.transformer, &manifest.vae, images, formats)
            }
            Manifest::InfinityStar(_) => return Err(self.is_not_of_images()),
        };
        Ok(self.with_parts(estimate))
    }

    /// What one video of a plan takes.
    pub fn estimate_video(&self, plan: &VideoPlan, placement: &Placement) -> MemoryEstimate {
        let estimate = video::infinity_star(plan, Formats::of(placement));
        self.with_parts(estimate)
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
