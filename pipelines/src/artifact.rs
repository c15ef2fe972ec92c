//! What flows between stages, and the types by which the wiring is checked.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Tensor;
use image::RgbImage;

pub use nextscale_models::generator::{Frames, VideoLatent};

use crate::yaml::Node;

/// The kinds of artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A prompt.
    Prompt,
    /// A class.
    Class,
    /// Text features: a prompt after the text encoder.
    Text,
    /// A latent: the feature map that a decoder turns into an image.
    Latent,
    /// An image, 8 bits per channel.
    Image,
    /// The latent of a part of a video.
    VideoLatent,
    /// Consecutive frames of a video.
    Frames,
    /// The path of a file that was written.
    File,
    /// Something that only custom stages know, by a name of its own.
    Custom(&'static str),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prompt => "a prompt",
            Self::Class => "a class",
            Self::Text => "text features",
            Self::Latent => "a latent",
            Self::Image => "an image",
            Self::VideoLatent => "a video latent",
            Self::Frames => "frames",
            Self::File => "a file",
            Self::Custom(name) => name,
        })
    }
}

/// A kind, and what else must agree between the two ends of a wire, such as `channels = 256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactType {
    /// What flows.
    pub kind: Kind,
    /// Named values; one that only one end states is not compared.
    pub constraints: Vec<(&'static str, String)>,
}

impl From<Kind> for ArtifactType {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

impl ArtifactType {
    /// A kind without constraints.
    pub fn new(kind: Kind) -> Self {
        let constraints = vec![];
        Self { kind, constraints }
    }

    /// Adds a constraint.
    #[must_use]
    pub fn constraint(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.constraints.push((name, value.to_string()));
        self
    }
}

/// The features of one prompt, without padding.
#[derive(Debug, Clone)]
pub struct Text {
    /// Features of the prompt, `[1, l, c]`.
    pub prompt: Tensor<3>,
    /// Features of the negative prompt, `[1, l, c]`, if there is one.
    pub negative: Option<Tensor<3>>,
}

/// The latent of an image.
#[derive(Debug, Clone)]
pub struct Latent {
    /// The running feature map, `[1, d, t, h, w]`, f32.
    pub features: Tensor<5>,
    /// Of an edit by instruction, width and height of the original: it fills the decoded square from the top left on, and
    /// the decoder crops the image to it. None if the whole is the image.
    pub original_size: Option<[u32; 2]>,
}

/// A value on its way from one stage to the next. Cloning is cheap.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // a tensor is a wide handle, and only a few are in flight
pub enum Artifact {
    /// The prompt itself is in the sample.
    Prompt,
    /// The index of a class; its name is in the sample.
    Class(usize),
    /// Text features.
    Text(Text),
    /// The latent of an image.
    Latent(Latent),
    /// An image.
    Image(Arc<RgbImage>),
    /// The latent of a part of a video.
    VideoLatent(VideoLatent),
    /// Frames of a video.
    Frames(Arc<Frames>),
    /// A file that was written.
    File(PathBuf),
    /// The artifact of a custom stage.
    Custom(&'static str, Arc<dyn Any + Send + Sync>),
}

/// The path of a key in a pipeline, and its value.
pub type Pin = (Vec<String>, Node);

/// What belongs to one image or video from the prompt to the file, whichever stage it is in.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Index in the run, from 0.
    pub index: usize,
    /// Number of samples in the run.
    pub total: usize,
    /// The prompt, or the name of the class.
    pub prompt: String,
    /// The negative prompt; empty if there is none.
    pub negative: String,
    /// The seed of this sample.
    pub seed: u64,
    /// Index of the prompt in its story, from 0; 0 outside stories.
    pub turn: usize,
    /// All prompts of the story that the prompt belongs to: one video, prompt after prompt. Empty outside stories.
    pub story: Arc<[String]>,
    /// What to write into the pipeline to generate this sample alone.
    pub pins: Vec<Pin>,
}

impl Sample {
    /// The prompt; all prompts of a story, one per line.
    pub fn full_prompt(&self) -> String {
        if self.story.is_empty() {
            self.prompt.clone()
        } else {
            self.story.join("\n")
        }
    }
}

/// Progress of a sample: scale `scale` of `scales`, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The scale that was finished.
    pub scale: usize,
    /// Number of scales.
    pub scales: usize,
}

/// Progress of a video: pass `pass` of `passes` over clip `clip` of `clips`, each from 1. The first clip is the image with which the video begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipStep {
    /// The clip.
    pub clip: usize,
    /// Number of clips.
    pub clips: usize,
    /// The pass over it that was finished.
    pub pass: usize,
    /// Number of passes over it.
    pub passes: usize,
}

/// An artifact with the sample that it belongs to.
#[derive(Debug, Clone)]
pub struct Message {
    /// The sample.
    pub sample: Arc<Sample>,
    /// Set if this is a preview of an unfinished image or video.
    pub preview: Option<Step>,
    /// The value.
    pub artifact: Artifact,
}
