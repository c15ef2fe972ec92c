//! What a video begins with.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use super::first_frame::Painter;
use super::params::TextToVideoParams;
use crate::artifact::Artifact;
use crate::error::PipelineError;
use crate::media::image::read_image;
use crate::media::{self, ClipRequest, VideoInfo};
use crate::setup::Setup;
use crate::stage::{Context, Input};
use crate::stages::fit;
use nextscale_models::bundle::{Size, StarManifest};

/// What is given, if anything is.
pub(super) enum VideoCondition {
    /// The prompt is all.
    None,
    /// A picture that comes from another stage.
    Wired,
    /// A picture from a file.
    Picture(RgbImage),
    /// A picture that another model paints of the prompt.
    Painted(Box<Painter>),
    /// The end of a video, and its frames once they are read.
    Video(Box<ClipRequest>, VideoInfo, Option<Arc<ConditionFrames>>),
}

/// ConditionFrames frames, all of the size of the video.
pub(super) struct ConditionFrames(Vec<RgbImage>);

impl VideoCondition {
    pub(super) fn new(
        params: &TextToVideoParams,
        model: &StarManifest,
        frames: usize,
        setup: &Setup,
    ) -> Result<Self, PipelineError> {
        let wired = setup.stage.wires.iter();
        let wired = wired
            .filter(|wire| wire.port.as_deref() == Some("image"))
            .count()
            > 0;
        let refuse = |key: &str, message: &str, hint: &str| {
            Err(setup.refuse(key, message).hint(hint).into())
        };
        let story = model.semantic_scale.is_some();
        let pictured = wired || params.image.is_some();
        if pictured && frames == 1 {
            let message = "a picture is given, and the video has no frame but the first";
            return refuse("image", message, "ask for a longer one: --seconds");
        }
        if pictured && story {
            let message = "an interactive model goes on from a video, not from a picture";
            return refuse("image", message, "give one: --video FILE");
        }
        match (&params.image, &params.video) {
            (Some(_), Some(_)) => refuse(
                "image",
                "a video begins with a picture or a video, not with both",
                "drop one of them",
            ),
            (Some(_), None) if wired => refuse(
                "image",
                "the picture comes from a stage or from a file, not from both",
                "drop one of them",
            ),
            (None, Some(_)) if wired => refuse(
                "video",
                "a video begins with a picture or a video, not with both",
                "drop one of them",
            ),
            (Some(path), None) => read_image(path)
                .map(Self::Picture)
                .map_err(|e| at(e, "image", setup)),
            (None, Some(path)) => {
                let info = media::video_info(path).map_err(|e| at(e, "video", setup))?;
                let request = ClipRequest {
                    path: path.clone(),
                    size: [0; 2],
                    fps: model.fps,
                    frames: model.condition_frames(),
                };
                Ok(Self::Video(Box::new(request), info, None))
            }
            (None, None) if wired => Ok(Self::Wired),
            (None, None) if story => {
                let message = format!("the model `{}` goes on from a video", model.name);
                refuse("video", &message, "give one: --video FILE")
            }
            (None, None) => match &model.first_frame {
                Some(rules) => Painter::new(rules, setup).map(|p| Self::Painted(Box::new(p))),
                None => Ok(Self::None),
            },
        }
    }

    /// The ratio of width to height of what is given, where it is known.
    pub(super) fn shape(&self) -> Option<f64> {
        let (w, h) = match self {
            Self::Picture(image) => {
                let (w, h) = image.dimensions();
                (w as usize, h as usize)
            }
            Self::Video(_, info, _) => (info.width, info.height),
            Self::None | Self::Wired | Self::Painted(_) => return None,
        };
        Some(w.max(1) as f64 / h.max(1) as f64)
    }

    /// Brings what is given to the size of the video, or refuses it. A model whose first frames are pictures in the middle
    /// of a background gets a given one as it is used to it.
    pub(super) fn check(
        &mut self,
        model: &StarManifest,
        size: &Size,
        setup: &Setup,
    ) -> Result<(), PipelineError> {
        match self {
            Self::Picture(image) => {
                *image = match &model.first_frame {
                    None => fit::cover(image, size.width, size.height),
                    Some(first) => {
                        let size = [size.width as u32, size.height as u32];
                        fit::inside(image, size, first.size, first.background)
                    }
                }
            }
            Self::Video(request, info, _) => {
                request.size = [size.width, size.height];
                request.check(*info).map_err(|e| at(e, "video", setup))?;
            }
            Self::None | Self::Wired | Self::Painted(_) => {}
        }
        Ok(())
    }

    pub(super) fn load(&mut self, context: &Context) -> Result<(), PipelineError> {
        match self {
            Self::Painted(painter) => painter.load(context),
            Self::Video(request, _, frames) => {
                *frames = Some(Arc::new(ConditionFrames(media::last_frames(request)?)));
                Ok(())
            }
            Self::None | Self::Wired | Self::Picture(_) => Ok(()),
        }
    }

    /// The frames that the video of a input begins with.
    pub(super) fn given(
        &self,
        input: &Input,
        size: &Size,
    ) -> Result<Option<Arc<ConditionFrames>>, PipelineError> {
        let one = |image: RgbImage| Ok(Some(Arc::new(ConditionFrames(vec![image]))));
        match self {
            Self::None => Ok(None),
            Self::Picture(image) => one(image.clone()),
            Self::Painted(painter) => {
                let size = [size.width as u32, size.height as u32];
                one(painter.paint(&input.sample, size, &input.context)?)
            }
            Self::Video(_, _, frames) => Ok(frames.clone()),
            Self::Wired => match input.artifacts.get(1) {
                Some(Artifact::Image(image)) => one(fit::cover(image, size.width, size.height)),
                _ => Err(input.context.failed("its second input is no image")),
            },
        }
    }
}

/// An error of a file as a mistake at the key that names it.
fn at(error: PipelineError, key: &str, setup: &Setup) -> PipelineError {
    let mut diagnostic = setup.refuse(key, error.to_string());
    diagnostic.hint = error.hint().map(str::to_owned);
    diagnostic.into()
}

impl ConditionFrames {
    /// The frames in the chunks that an encoder takes: one and some, then multiples of `stride`.
    pub(super) fn chunks(&self, stride: usize) -> impl Iterator<Item = &[RgbImage]> {
        let (first, rest) = self.0.split_at(self.0.len().min(1 + 2 * stride));
        std::iter::once(first).chain(rest.chunks(2 * stride))
    }

    /// Pixels `[1, 3, t, h, w]` in [-1, 1].
    pub(super) fn pixels(frames: &[RgbImage], device: &Device) -> Tensor<5> {
        let (w, h) = frames[0].dimensions();
        let bytes = frames.iter().flat_map(|frame| frame.as_raw());
        let values: Vec<f32> = bytes.map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        let shape = [1, frames.len(), h as usize, w as usize, 3];
        let pixels = Tensor::<5>::from_data(TensorData::new(values, shape), device);
        pixels.permute([0, 4, 1, 2, 3])
    }
}
