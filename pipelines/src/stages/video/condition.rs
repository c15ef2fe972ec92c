//! What a video begins with.

use std::sync::Arc;

use image::RgbImage;
use nextscale_models::generator::ImageGenerator;
use nextscale_models::manifest::InfinityStarManifest;
use nextscale_models::resize::crop_to_cover;
use nextscale_models::{FirstFrame, Model, Size, device};

use super::params::TextToVideoParams;
use crate::artifact::Artifact;
use crate::error::{Diagnostic, PipelineError};
use crate::media::read_image;
use crate::media::{self, ClipRequest, VideoInfo};
use crate::setup::Setup;
use crate::stage::{Context, Input};

/// What is given, if anything is.
pub(super) enum VideoCondition {
    /// The prompt only.
    None,
    /// An image from another stage.
    Wired,
    /// An image from a file.
    Image(RgbImage),
    /// An image that another model generates from the prompt.
    Generated(Box<GeneratedFrame>),
    /// The end of a video.
    Video(Box<VideoFile>),
}

/// A given video, and its last frames once they are read.
pub(super) struct VideoFile {
    request: ClipRequest,
    info: VideoInfo,
    frames: Option<Arc<ConditionFrames>>,
}

/// Given frames, all of the size of the video.
pub(super) type ConditionFrames = Vec<RgbImage>;

/// A first frame by another model, which is loaded with the stage.
pub(super) struct GeneratedFrame {
    rules: FirstFrame,
    model: Arc<Model>,
    generator: Option<ImageGenerator>,
}

impl VideoCondition {
    /// The condition that the parameters and the wires ask for; `frames` is the length of the video.
    pub(super) fn new(
        params: &TextToVideoParams,
        model: &InfinityStarManifest,
        frames: usize,
        setup: &Setup,
    ) -> Result<Self, PipelineError> {
        let mut wires = setup.stage.wires.iter();
        let wired = wires.any(|wire| wire.port.as_deref() == Some("image"));
        check(params, model, frames, wired, setup)?;
        if let Some(path) = &params.image {
            let image = read_image(path).map_err(|e| setup.refuse_error("image", &e))?;
            return Ok(Self::Image(image));
        }
        if let Some(path) = &params.video {
            let info = media::video_info(path).map_err(|e| setup.refuse_error("video", &e))?;
            let request = ClipRequest {
                path: path.to_path_buf(),
                size: [0; 2],
                fps: model.fps,
                frames: model.condition_frames(),
            };
            let frames = None;
            return Ok(Self::Video(Box::new(VideoFile {
                request,
                info,
                frames,
            })));
        }
        match &model.first_frame {
            _ if wired => Ok(Self::Wired),
            Some(rules) => Ok(Self::Generated(Box::new(GeneratedFrame {
                model: first_frame_model(&rules.model, setup)?,
                rules: rules.clone(),
                generator: None,
            }))),
            None => Ok(Self::None),
        }
    }

    /// The aspect ratio, width to height, of what is given, if it is known.
    pub(super) fn shape(&self) -> Option<f64> {
        let (w, h) = match self {
            Self::Image(image) => {
                let (w, h) = image.dimensions();
                (w as usize, h as usize)
            }
            Self::Video(video) => (video.info.width, video.info.height),
            Self::None | Self::Wired | Self::Generated(_) => return None,
        };
        Some(w.max(1) as f64 / h.max(1) as f64)
    }

    /// Brings what is given to the size of the video, or refuses it. For a model that was trained on first frames with a
    /// margin, a given image gets the same margin.
    pub(super) fn fit(
        &mut self,
        model: &InfinityStarManifest,
        size: &Size,
        setup: &Setup,
    ) -> Result<(), PipelineError> {
        let (width, height) = (size.width as u32, size.height as u32);
        match self {
            Self::Image(image) => {
                *image = match &model.first_frame {
                    None => crop_to_cover(image, width, height),
                    Some(first) => first.frame(image, [width, height]),
                }
            }
            Self::Video(video) => {
                video.request.size = [size.width, size.height];
                let checked = video.request.check(video.info);
                checked.map_err(|e| setup.refuse_error("video", &e))?;
            }
            Self::None | Self::Wired | Self::Generated(_) => {}
        }
        Ok(())
    }

    pub(super) fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        match self {
            Self::Generated(frame) => {
                let placement = context.placement(device::blocks(context.settings.dtype));
                frame.generator = Some(ImageGenerator::load(&frame.model, &placement)?);
                Ok(())
            }
            Self::Video(video) => {
                let frames = media::last_frames(&video.request, |notice| context.warn(notice))?;
                video.frames = Some(Arc::new(frames));
                Ok(())
            }
            Self::None | Self::Wired | Self::Image(_) => Ok(()),
        }
    }

    /// The frames that the video of a sample begins with.
    pub(super) fn frames(
        &self,
        input: &Input,
        size: &Size,
    ) -> Result<Option<Arc<ConditionFrames>>, PipelineError> {
        let (width, height) = (size.width as u32, size.height as u32);
        let image = match self {
            Self::None => return Ok(None),
            Self::Video(video) => return Ok(video.frames.clone()),
            Self::Image(image) => image.clone(),
            Self::Generated(frame) => {
                let Some(generator) = &frame.generator else {
                    return Err(input.context.failed("its image model was not loaded"));
                };
                let (prompt, seed) = (&input.sample.prompt, input.sample.seed);
                let image = generator.first_frame(&frame.rules, prompt, seed, [width, height]);
                image.map_err(|e| input.context.failed(e))?
            }
            Self::Wired => match input.artifacts.get(1) {
                Some(Artifact::Image(image)) => crop_to_cover(image, width, height),
                _ => return Err(input.context.failed("its second input is not an image")),
            },
        };
        Ok(Some(Arc::new(vec![image])))
    }
}

/// Refuses conditions that exclude each other, and those that the model does not take.
fn check(
    params: &TextToVideoParams,
    model: &InfinityStarManifest,
    frames: usize,
    wired: bool,
    setup: &Setup,
) -> Result<(), Diagnostic> {
    let refuse = |key: &str, message: &str, hint: &str| Err(setup.refuse(key, message).hint(hint));
    let interactive = model.semantic_scale.is_some();
    let has_image = wired || params.image.is_some();
    if has_image && frames == 1 {
        let message = "an image is given, and the video has only one frame";
        return refuse("image", message, "ask for a longer one: --seconds");
    }
    if has_image && interactive {
        let message = "an interactive model continues a video, not an image";
        return refuse("image", message, "give one: --video FILE");
    }
    if params.video.is_some() && has_image {
        let key = if params.image.is_some() {
            "image"
        } else {
            "video"
        };
        let message = "a video begins with an image or a video, not with both";
        return refuse(key, message, "drop one of them");
    }
    if params.image.is_some() && wired {
        let message = "the image comes from a stage or from a file, not from both";
        return refuse("image", message, "drop one of them");
    }
    if interactive && params.video.is_none() {
        let message = format!("the model `{}` continues a video", model.name);
        return refuse("video", &message, "give one: --video FILE");
    }
    Ok(())
}

/// The model that generates the first frame.
fn first_frame_model(name: &str, setup: &Setup) -> Result<Arc<Model>, PipelineError> {
    let model = setup.text_model(Some(name))?;
    if model.edits_by_instruction() {
        let message = format!("the first frame is to come from `{name}`, which edits images");
        let hint = "give the video an image instead: --image FILE";
        return Err(setup.refuse("model", message).hint(hint).into());
    }
    Ok(model)
}
