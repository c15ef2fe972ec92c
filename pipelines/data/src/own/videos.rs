//! Who reads videos: this crate has no decoder of them.

use std::path::Path;

use image::RgbImage;

/// Reads the frames of videos, from several threads at once.
pub trait ReadVideo: Sync {
    /// The first `frames` frames of a video at `fps` frames per second, upright and all of one size; fewer if the video is
    /// shorter.
    ///
    /// # Errors
    /// Why the video cannot be read, as half a sentence.
    fn frames(&self, path: &Path, frames: usize, fps: f64) -> Result<Vec<RgbImage>, String>;
}

/// For sets of images, and for programs without a decoder: every video is refused.
#[derive(Debug, Clone, Copy)]
pub struct NoVideos;

impl ReadVideo for NoVideos {
    fn frames(&self, _: &Path, _: usize, _: f64) -> Result<Vec<RgbImage>, String> {
        Err("this program was built without a decoder of videos".into())
    }
}
