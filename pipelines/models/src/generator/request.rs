use burn::tensor::Tensor;
use image::RgbImage;

use crate::error::ModelError;
use crate::model::Model;
use crate::sampling::out_of_range;
use crate::shortcuts::ShortcutChoice;
use crate::size::Size;

/// What to generate. Only a prompt or a class is needed: everything else is the model's default.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub(super) subject: Subject,
    pub(super) negative_prompt: String,
    pub(super) seed: u64,
    pub(super) size: Option<[usize; 2]>,
    pub(super) seconds: Option<f64>,
    pub(super) frames: Option<usize>,
    pub(super) cfg_scale: Option<f64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_k: Option<usize>,
    pub(super) top_p: Option<f64>,
    pub(super) init_image: Option<RgbImage>,
    pub(super) shortcuts: ShortcutChoice,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Subject {
    Prompt(String),
    Class(String),
}

impl Request {
    /// An image or a video of a prompt.
    pub fn prompt(prompt: impl Into<String>) -> Self {
        Self::new(Subject::Prompt(prompt.into()))
    }

    /// An image of a class, by name or number, for class-conditional models.
    pub fn class(class: impl Into<String>) -> Self {
        Self::new(Subject::Class(class.into()))
    }

    fn new(subject: Subject) -> Self {
        Self {
            subject,
            negative_prompt: String::new(),
            seed: 0,
            size: None,
            seconds: None,
            frames: None,
            cfg_scale: None,
            temperature: None,
            top_k: None,
            top_p: None,
            init_image: None,
            shortcuts: ShortcutChoice::default(),
        }
    }

    /// Refuses settings out of their range.
    pub(super) fn check_ranges(&self) -> Result<(), ModelError> {
        for (name, value, most) in [
            ("cfg_scale", self.cfg_scale, 1000.0),
            ("temperature", self.temperature, 1000.0),
            ("top_p", self.top_p, 1.0),
        ] {
            let message = value.and_then(|value| out_of_range(name, value, 0.0..=most));
            if let Some(message) = message {
                return Err(ModelError::refused(message));
            }
        }
        Ok(())
    }

    /// The size that it asks of a model; the model's first if it names none.
    pub(super) fn size_for(&self, model: &Model) -> Result<Size, ModelError> {
        match self.size {
            None => model.default_size(),
            Some([width, height]) => model.size(width, height),
        }
    }

    /// What to steer away from.
    #[must_use]
    pub fn negative_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.negative_prompt = prompt.into();
        self
    }

    /// The seed; 0 unless set. One seed gives the same image on every run.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size(mut self, width: usize, height: usize) -> Self {
        self.size = Some([width, height]);
        self
    }

    /// The length of a video in seconds.
    #[must_use]
    pub fn seconds(mut self, seconds: f64) -> Self {
        self.seconds = Some(seconds);
        self
    }

    /// The length of a video in frames, instead of seconds.
    #[must_use]
    pub fn frames(mut self, frames: usize) -> Self {
        self.frames = Some(frames);
        self
    }

    /// The guidance weight. 1 is no guidance; for VAR, whose guidance grows up to it, 0 is none.
    #[must_use]
    pub fn cfg_scale(mut self, scale: f64) -> Self {
        self.cfg_scale = Some(scale);
        self
    }

    /// The temperature; 0 takes the most likely values.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sample from the N most likely values; 0 for all. Videos are sampled without it.
    #[must_use]
    pub fn top_k(mut self, n: usize) -> Self {
        self.top_k = Some(n);
        self
    }

    /// Sample from the most likely values that make up this share; 0 or 1 for all. Videos are sampled without it.
    #[must_use]
    pub fn top_p(mut self, share: f64) -> Self {
        self.top_p = Some(share);
        self
    }

    /// What an image leaves out to be faster; all that is needed unless set.
    #[must_use]
    pub fn shortcuts(mut self, choice: ShortcutChoice) -> Self {
        self.shortcuts = choice;
        self
    }

    /// The first frame of a video, which is cropped to the size of the video; or the image that a model edits by the
    /// instruction in the prompt, whose size the result has.
    #[must_use]
    pub fn init_image(mut self, image: RgbImage) -> Self {
        self.init_image = Some(image);
        self
    }
}

/// The refusal of a class by a model that takes prompts.
pub(super) fn takes_prompts(model: &Model) -> ModelError {
    let message = format!("the model `{}` takes prompts, not classes", model.name());
    ModelError::refused_with(message, "ask for a prompt instead")
}

/// The refusal of a request without an image by a model that edits one.
pub(super) fn needs_source(model: &Model) -> ModelError {
    let message = format!(
        "the model `{}` edits an image, and there is none",
        model.name()
    );
    ModelError::refused_with(message, "give it one: `init_image`")
}

/// The refusal of an image by a model that generates from nothing.
pub(super) fn takes_no_source(model: &Model) -> ModelError {
    let message = format!("the model `{}` edits no image by instruction", model.name());
    ModelError::refused_with(message, "name one that does, such as varedit-8b-512")
}

/// One finished scale of an image, or one finished pass of a video.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// The running feature map at full size, `[1, c, t, h, w]`.
    pub features: Tensor<5>,
}

/// A generated video.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// All frames, of one size.
    pub frames: Vec<RgbImage>,
    /// Frames a second.
    pub fps: usize,
}

/// What a generator made of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Generated {
    /// By a model of images.
    Image(RgbImage),
    /// By a model of videos.
    Video(Clip),
}

impl Generated {
    /// The image; of a video of one frame that frame.
    ///
    /// # Errors
    /// A longer video.
    pub fn image(self) -> Result<RgbImage, ModelError> {
        match self {
            Self::Image(image) => Ok(image),
            Self::Video(mut clip) if clip.frames.len() == 1 => Ok(clip.frames.remove(0)),
            Self::Video(clip) => Err(ModelError::refused_with(
                format!("the result is a video of {} frames", clip.frames.len()),
                "take `video()`, or ask for `frames(1)`",
            )),
        }
    }

    /// The video.
    ///
    /// # Errors
    /// An image.
    pub fn video(self) -> Result<Clip, ModelError> {
        match self {
            Self::Video(clip) => Ok(clip),
            Self::Image(_) => Err(ModelError::refused_with(
                "the result is an image",
                "take `image()`, or a model of videos",
            )),
        }
    }
}
