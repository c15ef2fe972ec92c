//! Custom stages that change images or frames one by one, written as a closure.

use std::sync::Arc;

use image::RgbImage;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::artifact::{Artifact, Frames, Kind, Sample};
use crate::error::PipelineError;
use crate::registry::Registry;
use crate::setup::Setup;
use crate::stage::{Input, Output, Ports, Stage};

/// The place of a frame in its video.
#[derive(Debug, Clone, Copy)]
pub struct FrameInfo<'a> {
    /// The video: its prompt, seed and index.
    pub sample: &'a Sample,
    /// Index of the frame in the video, from 0.
    pub index: usize,
    /// Frames per second.
    pub fps: usize,
}

impl FrameInfo<'_> {
    /// Time from the start of the video to this frame, in seconds.
    pub fn seconds(&self) -> f64 {
        self.index as f64 / self.fps as f64
    }
}

impl Registry {
    /// Adds a stage that changes each image with `change`; `P` are its parameters in YAML.
    ///
    /// ```
    /// # use nextscale_pipelines::Registry;
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Invert {}
    ///
    /// let mut registry = Registry::builtin();
    /// registry.map_images("invert", |image, _: &Invert| {
    ///     image::imageops::invert(image);
    ///     Ok(())
    /// });
    /// ```
    pub fn map_images<P, F>(&mut self, name: &str, change: F)
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(&mut RgbImage, &P) -> Result<(), PipelineError> + Send + Sync + 'static,
    {
        let change = Arc::new(change);
        self.register(name, move |params: P, _: &Setup| {
            let change = change.clone();
            Ok(Map("image", Kind::Image, move |input: &Input| {
                let Some(Artifact::Image(image)) = input.artifacts.first() else {
                    return Err(input.context.failed("its input is not an image"));
                };
                let mut image = RgbImage::clone(image);
                change(&mut image, &params)?;
                Ok(Artifact::Image(Arc::new(image)))
            }))
        });
    }

    /// Adds a stage that changes each frame of a video with `change`; `P` are its parameters in YAML.
    pub fn map_frames<P, F>(&mut self, name: &str, change: F)
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(&mut RgbImage, FrameInfo<'_>, &P) -> Result<(), PipelineError>
            + Send
            + Sync
            + 'static,
    {
        let change = Arc::new(change);
        self.register(name, move |params: P, _: &Setup| {
            let change = change.clone();
            // A video comes in several chunks, so that it is never in memory as a whole.
            Ok(Map("frames", Kind::Frames, move |input: &Input| {
                let Some(Artifact::Frames(frames)) = input.artifacts.first() else {
                    return Err(input.context.failed("its input is not frames"));
                };
                let mut frames = Frames::clone(frames);
                for (i, frame) in frames.images.iter_mut().enumerate() {
                    let info = FrameInfo {
                        sample: &input.sample,
                        index: frames.first + i,
                        fps: frames.fps,
                    };
                    change(frame, info, &params)?;
                }
                Ok(Artifact::Frames(Arc::new(frames)))
            }))
        });
    }
}

/// Turns each input of a kind into another of the same kind; the name is that of the input.
struct Map<F>(&'static str, Kind, F);

impl<F> Stage for Map<F>
where
    F: Fn(&Input) -> Result<Artifact, PipelineError> + Send,
{
    fn ports(&self) -> Ports {
        Ports::one(self.0, self.1, self.1)
    }

    fn run(&mut self, input: &Input, out: &mut Output) -> Result<(), PipelineError> {
        out.send(input, (self.2)(input)?)
    }
}
