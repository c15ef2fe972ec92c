//! What flows between stages, and the types by which the wiring is checked.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Tensor;
use image::RgbImage;

use crate::yaml::Node;

/// The kinds of artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A prompt to paint.
    Prompt,
    /// A class to paint.
    Class,
    /// Text features: what the text encoder made of a prompt.
    Text,
    /// A latent: the feature map that a decoder turns into a picture.
    Latent,
    /// A picture, 8 bits a channel.
    Image,
    /// The latent of a part of a video.
    VideoLatent,
    /// Some frames of a video, one after the other.
    Frames,
    /// The name of a file that was written.
    File,
    /// Something that only a stage from outside knows, by its own name.
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

/// A kind, and what must also agree between the two ends of a wire, such as `channels = 256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactType {
    /// What flows.
    pub kind: Kind,
    /// Named facts; one that only one end states is not compared.
    pub constraints: Vec<(&'static str, String)>,
}

impl ArtifactType {
    /// A kind without facts.
    pub fn new(kind: Kind) -> Self {
        let constraints = vec![];
        Self { kind, constraints }
    }

    /// Adds a fact.
    #[must_use]
    pub fn constraint(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.constraints.push((name, value.to_string()));
        self
    }

    /// The first fact on which the two ends differ: its name, the value here and the value there.
    pub fn mismatch<'a>(&'a self, other: &'a Self) -> Option<(&'static str, &'a str, &'a str)> {
        self.constraints.iter().find_map(|(name, here)| {
            let (_, there) = other.constraints.iter().find(|(n, _)| n == name)?;
            (here != there).then_some((*name, here.as_str(), there.as_str()))
        })
    }
}

/// What a text encoder makes of a prompt: one row, so nothing is padded.
#[derive(Debug, Clone)]
pub struct Text {
    /// Features of the prompt, `[1, l, c]`.
    pub prompt: Tensor<3>,
    /// Features of the negative prompt, `[1, l, c]`, if there is one.
    pub negative: Option<Tensor<3>>,
}

/// The latent of a part of a video. A video is one part or several, in their order.
#[derive(Debug, Clone)]
pub struct VideoLatent {
    /// `[1, c, t, h, w]`, f32.
    pub latent: Tensor<5>,
    /// Frames a second.
    pub fps: usize,
    /// Number in the video, from 0, of the first frame that is shown of this part.
    pub first: usize,
    /// Whether the decoder begins anew with it, instead of going on from the part before.
    pub fresh: bool,
    /// Decoded frames that are left out at its condition.
    pub skip: usize,
    /// Whether it ends the video.
    pub last: bool,
}

/// Some frames of a video, one after the other, as they come from the decoder: a stage of frames takes such a chunk and
/// gives one of as many.
#[derive(Debug, Clone)]
pub struct Frames {
    /// The frames, all of one size.
    pub images: Vec<RgbImage>,
    /// Frames a second.
    pub fps: usize,
    /// Number of the first of them in the video, from 0.
    pub first: usize,
    /// Whether the last of them ends the video.
    pub last: bool,
}

impl Frames {
    /// The same frames, each changed by `change`, which also gets the number of the frame in the video.
    #[must_use]
    pub fn map(&self, mut change: impl FnMut(usize, &RgbImage) -> RgbImage) -> Self {
        let numbered = self.images.iter().enumerate();
        Self {
            images: numbered.map(|(i, p)| change(self.first + i, p)).collect(),
            ..*self
        }
    }
}

/// A value on its way from one stage to the next. Cloning is cheap.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // a tensor is a wide handle, and few are on their way
pub enum Artifact {
    /// The prompt itself is in the sample.
    Prompt,
    /// The number of a class; its name is in the sample.
    Class(usize),
    /// Text features.
    Text(Text),
    /// The running feature map, `[1, d, t, h, w]`, f32.
    Latent(Tensor<5>),
    /// A picture.
    Image(Arc<RgbImage>),
    /// The latent of a part of a video.
    VideoLatent(VideoLatent),
    /// Frames of a video.
    Frames(Arc<Frames>),
    /// A file that was written.
    File(PathBuf),
    /// What a stage from outside made.
    Custom(&'static str, Arc<dyn Any + Send + Sync>),
}

impl Artifact {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Prompt => Kind::Prompt,
            Self::Class(_) => Kind::Class,
            Self::Text(_) => Kind::Text,
            Self::Latent(_) => Kind::Latent,
            Self::Image(_) => Kind::Image,
            Self::VideoLatent(_) => Kind::VideoLatent,
            Self::Frames(_) => Kind::Frames,
            Self::File(_) => Kind::File,
            Self::Custom(name, _) => Kind::Custom(name),
        }
    }
}

/// What belongs to one picture from the prompt to the file, whichever stage it is in.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Number of the picture in its run, from 0.
    pub index: usize,
    /// Pictures of the run.
    pub total: usize,
    /// What to paint.
    pub prompt: String,
    /// What not to paint; empty for nothing in particular.
    pub negative: String,
    /// The seed of this picture.
    pub seed: u64,
    /// Number of the prompt in its story, from 0; 0 outside stories.
    pub turn: usize,
    /// All prompts of the story that the prompt belongs to: one video, prompt after prompt. Empty outside stories.
    pub story: Arc<[String]>,
    /// What has to be written in the pipeline to paint this picture alone: paths of keys and values.
    pub pins: Vec<(Vec<String>, Node)>,
}

/// How far a picture is: scale number `scale` of `scales`, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The scale that was finished.
    pub scale: usize,
    /// All scales.
    pub scales: usize,
}

/// An artifact with its sample.
#[derive(Debug, Clone)]
pub struct Message {
    /// Which picture it belongs to.
    pub sample: Arc<Sample>,
    /// Set if this is a preview of an unfinished picture.
    pub preview: Option<Step>,
    /// The value.
    pub artifact: Artifact,
}
