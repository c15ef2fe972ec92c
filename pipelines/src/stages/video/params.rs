//! The parameters of `text-to-video`.

use nextscale_models::manifest::InfinityStarManifest;
use nextscale_models::shortcuts::{ShortcutChoice, VideoShortcuts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::error::PipelineError;
use crate::file_path::FilePath;
use crate::per_scale::PerScale;
use crate::setup::Setup;
use crate::stage_params::StageParams;
use crate::stages::sampling::check_range;
use crate::stages::shortcuts::without_guidance;

/// Generates the latent of a video, one pass of the transformer per scale. It can begin with an image, from another stage
/// (`from: { text: NAME, image: NAME }`) or from a file, or continue a video.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextToVideoParams {
    /// The model whose transformer is used, instead of the pipeline's.
    pub model: Option<String>,
    /// SHA-256 of the model's weights, as recorded in videos; any other model is refused.
    pub fingerprint: Option<String>,
    /// Length in seconds; 0 for one image. The model's default if absent.
    pub seconds: Option<f64>,
    /// Length in frames, instead of seconds.
    pub frames: Option<usize>,
    /// Width in pixels; if absent, the model's default, or the best fit for the image or video that it begins with.
    pub width: Option<usize>,
    /// Height in pixels.
    pub height: Option<usize>,
    /// Aspect ratio, such as `16:9`, instead of a size: the nearest one of the model.
    pub aspect: Option<String>,
    /// Strength of classifier-free guidance; 1 turns it off.
    pub cfg_scale: Option<f64>,
    /// Sampling temperature of the clips: above 1 more varied, below 1 more likely; 0 always takes the most likely value, also
    /// in the first image.
    pub temperature: Option<f64>,
    /// Sampling temperature of the image that a video begins with.
    pub image_temperature: Option<f64>,
    /// Leave out what costs few details: guidance in the last scales, which take most of the time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fast: bool,
    /// Number of scales with guidance, from the first of each clip: after them a pass takes half the time.
    pub guidance_until: Option<usize>,
    /// Shares of the tokens that the last scales of each clip compute, coarse to fine: `[0.6, 0.5]` for the last two. The others
    /// get what a coarser scale has computed.
    pub keep_tokens: Option<PerScale>,
    /// Number of passes over each scale, at most.
    pub repeats: Option<usize>,
    /// Leave out the other passes over a scale once the share of its bits that repeat from one pass to the next is below this,
    /// from 0 to 1. It is about 0.5 where bits are drawn at random, and falls where passes only correct each other.
    pub converge: Option<f64>,
    /// An image to begin with: PNG, JPEG, WebP, TIFF or GIF. It is scaled and cropped around its centre to the size of the video.
    pub image: Option<FilePath>,
    /// A video to continue: its last seconds, as many as the model takes, are the start of the result. Interactive models
    /// need one.
    pub video: Option<FilePath>,
    /// Leave the blocks of the transformer in their file and read them one by one in every pass: for models that are larger
    /// than memory. Same video, slower.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
}

impl StageParams for TextToVideoParams {
    const STAGE: &'static str = "text-to-video";
}

impl TextToVideoParams {
    /// What a run over a model's `scales` scales leaves out.
    pub(super) fn shortcuts(
        &self,
        manifest: &InfinityStarManifest,
        scales: usize,
        setup: &Setup,
    ) -> Result<VideoShortcuts, PipelineError> {
        let keep_tokens = self.keep_tokens.as_ref();
        let choice = ShortcutChoice {
            fast: self.fast,
            guidance_until: self.guidance_until,
            keep_tokens: keep_tokens.map(|shares| shares.given().to_vec()),
            repeats: self.repeats,
            converge: self.converge,
            ..ShortcutChoice::default()
        };
        let shortcuts = choice.resolve_video(scales);
        let shortcuts = shortcuts.map_err(|e| setup.refuse(e.key, e.message))?;
        if self.guidance_until.is_some() && !manifest.guidance.is_active() {
            return Err(without_guidance(setup));
        }
        Ok(shortcuts)
    }

    /// Whether one frame is asked for.
    pub(in crate::stages) fn is_single_frame(&self) -> bool {
        self.seconds == Some(0.0) || self.frames == Some(1)
    }
}

/// The model's settings with those of the user over them.
pub(super) fn resolve(
    params: &TextToVideoParams,
    model: &InfinityStarManifest,
    setup: &Setup,
) -> Result<InfinityStarManifest, PipelineError> {
    let given = [
        ("cfg-scale", params.cfg_scale),
        ("temperature", params.temperature),
        ("image-temperature", params.image_temperature),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            check_range(key, value, 0.0..=1000.0, setup)?;
        }
    }
    let guidance = match params.cfg_scale {
        None => model.guidance,
        Some(scale) => model.guidance.with_scale(scale),
    };
    Ok(InfinityStarManifest {
        guidance,
        clip_temperature: params.temperature.unwrap_or(model.clip_temperature),
        image_temperature: params.image_temperature.unwrap_or(model.image_temperature),
        ..model.clone()
    })
}
