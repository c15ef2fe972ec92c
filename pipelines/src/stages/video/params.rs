//! What may be asked of a video.

use std::path::PathBuf;

use nextscale_video::InfinityStarGuidance;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::PipelineError;
use crate::setup::Setup;
use nextscale_models::bundle::StarManifest;

/// Makes the latent of a video, one pass of the transformer a scale. It may begin with a picture, from another stage
/// (`from: { text: NAME, image: NAME }`) or from a file, or go on from a video.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextToVideoParams {
    /// The model to take the transformer of, instead of the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// SHA-256 of the model's weights, as videos record it; another model is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    /// Length in seconds; 0 is a picture. The model's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<f64>,
    /// Length in frames, instead of seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) frames: Option<usize>,
    /// Width in pixels; the model's default if absent, or what suits the picture or video that it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) width: Option<usize>,
    /// Height in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) height: Option<usize>,
    /// Width to height, such as `16:9`, instead of a size: the nearest that the model knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) aspect: Option<String>,
    /// How strongly the prompt counts; 1 turns guidance off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cfg_scale: Option<f64>,
    /// For the clips: above 1 more varied, below 1 more likely; 0 always takes the likeliest, in the image too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<f64>,
    /// The same for the image that a video begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image_temperature: Option<f64>,
    /// A picture to begin with: PNG, JPEG or WebP. It is scaled and evenly cropped to the size of the video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<PathBuf>,
    /// A video to go on from: its last seconds, as many as the model looks back on, are the beginning of the result.
    /// Interactive models need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) video: Option<PathBuf>,
    /// Whether the blocks of the transformer stay in their file, from which every pass reads them one after the other: for
    /// models that are larger than memory. Same video, more time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stream: bool,
}

/// The settings of the run: what was given, else the model's own.
pub(super) fn over(
    params: &TextToVideoParams,
    model: &StarManifest,
    setup: &Setup,
) -> Result<StarManifest, PipelineError> {
    let given = [
        ("cfg-scale", params.cfg_scale),
        ("temperature", params.temperature),
        ("image-temperature", params.image_temperature),
    ];
    for (key, value) in given {
        if let Some(value) = value.filter(|value| !(0.0..=1000.0).contains(value)) {
            let message = format!("`{key}` should be from 0 to 1000, but it is {value}");
            return Err(setup.refuse(key, message).into());
        }
    }
    let guidance = match (params.cfg_scale, model.guidance) {
        (None, guidance) => guidance,
        (Some(scale), InfinityStarGuidance::Apg { threshold, .. }) => {
            InfinityStarGuidance::Apg { scale, threshold }
        }
        (Some(scale), _) => InfinityStarGuidance::Cfg { scale },
    };
    Ok(StarManifest {
        guidance,
        clip_temperature: params.temperature.unwrap_or(model.clip_temperature),
        image_temperature: params.image_temperature.unwrap_or(model.image_temperature),
        ..model.clone()
    })
}

/// How strongly the prompt counts; 1 is no guidance.
pub(super) fn scale_of(guidance: InfinityStarGuidance) -> f64 {
    match guidance {
        InfinityStarGuidance::None => 1.0,
        InfinityStarGuidance::Cfg { scale } | InfinityStarGuidance::Apg { scale, .. } => scale,
    }
}
