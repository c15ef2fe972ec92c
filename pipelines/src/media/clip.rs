//! A video that is given as a condition: what is needed of it, and what its header says.

use std::path::PathBuf;

use crate::error::PipelineError;

/// Which frames are read from a video, and how they are converted.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "ffmpeg"), allow(dead_code))]
pub(crate) struct ClipRequest {
    pub(crate) path: PathBuf,
    /// Width and height in pixels.
    pub(crate) size: [usize; 2],
    pub(crate) fps: usize,
    /// Number of frames, counted from the end of the video.
    pub(crate) frames: usize,
}

/// What the header of a video says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VideoInfo {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// None if the header does not say.
    #[cfg_attr(not(feature = "ffmpeg"), allow(dead_code))]
    pub(crate) seconds: Option<f64>,
}

impl ClipRequest {
    /// Refuses a video whose header says that it is too short.
    pub(crate) fn check(&self, info: VideoInfo) -> Result<(), PipelineError> {
        match info.seconds {
            // One frame of tolerance for rounding; the frames themselves are counted when they are read.
            Some(seconds) if seconds * (self.fps as f64) + 1.0 < self.frames as f64 => {
                Err(self.too_short(&format!("{seconds:.2} s")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn too_short(&self, has: &str) -> PipelineError {
        let needed = self.frames as f64 / self.fps as f64;
        let message = format!(
            "is too short: it has {has}, and the model continues from {} frames, {needed:.2} s at its rate of {} fps",
            self.frames, self.fps
        );
        let hint = "give a longer video, or an image to begin with: --image FILE";
        PipelineError::content(&self.path, message, Some(hint))
    }
}
