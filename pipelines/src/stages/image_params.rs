//! The parameters of `text-to-image` and `class-to-image`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use smart_default::SmartDefault;

use super::batch::{is_one, one};
use super::init_image::{StartParams, VariationParams};
use super::inpaint::EditParams;
use crate::file_path::FilePath;
use crate::per_scale::PerScale;
use crate::stage_params::StageParams;

/// Generates the latent of an image, one pass of the transformer per scale.
#[skip_serializing_none]
#[derive(Debug, Clone, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextToImageParams {
    /// The model whose transformer is used, instead of the pipeline's.
    pub model: Option<String>,
    /// SHA-256 of the model's weights, as recorded in images; any other model is refused.
    pub fingerprint: Option<String>,
    /// Width in pixels; the model's default if absent.
    pub width: Option<usize>,
    /// Height in pixels; the model's default if absent.
    pub height: Option<usize>,
    /// Aspect ratio, such as `16:9`, instead of a size: the nearest one of the model.
    pub aspect: Option<String>,
    /// Approximate number of pixels, such as `0.25M`, for models with several sizes per aspect ratio.
    pub pixels: Option<String>,
    /// Strength of classifier-free guidance, one number or one per scale; 1 turns it off.
    pub cfg_scale: Option<PerScale>,
    /// Where guidance is applied: 0 to the logits, -1 to the output of the last block, -2 to that of the one before it.
    pub cfg_insertion_layer: Option<i64>,
    /// Sampling temperature, one number or one per scale: above 1 more varied, below 1 more likely; 0 always takes the most
    /// likely value.
    pub temperature: Option<PerScale>,
    /// Sample from the N most likely values; 0 for all.
    pub top_k: Option<usize>,
    /// Sample from the most likely values whose probabilities sum to this; 0 or 1 for all.
    pub top_p: Option<f64>,
    /// Leave out what costs few details: the last scales, guidance in those before them, and some of their tokens. The image
    /// records what that came to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fast: bool,
    /// Number of scales that are run, from the first; all if absent. The image has its full size, with fewer details.
    pub scales: Option<usize>,
    /// Number of scales with guidance, from the first: after them a scale takes half the time.
    pub guidance_until: Option<usize>,
    /// Shares of the tokens that the last scales compute, coarse to fine: `[0.6, 0.5]` for the last two. The other tokens get what
    /// coarser ones got.
    pub keep_tokens: Option<PerScale>,
    /// Share of the keys and values of earlier scales that is kept, above 0: less memory, and other details. All are kept if absent; with
    /// `cache-index` a tenth is.
    pub cache_budget: Option<f64>,
    /// What `nextscale calibrate` has measured of the model: which layers keep more than others. The image records them as `drafters`.
    pub cache_index: Option<FilePath>,
    /// Layers that keep all their keys and values as long as that is possible, from 0, instead of an index; the others share the rest.
    pub drafters: Option<Vec<usize>>,
    /// Number of images that are generated together: more memory, less time for each. They are the same as one by one, up to
    /// rounding.
    #[default(1)]
    #[serde(default = "one::<usize>", skip_serializing_if = "is_one")]
    pub batch: usize,
    /// Leave the blocks of the transformer in their file and read them one by one in every pass: for models that are larger
    /// than memory. Same image, slower.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// An image of which a part is inpainted, or that a model edits by instruction.
    pub edit: Option<EditParams>,
    /// An image whose first scales are reused.
    pub start: Option<StartParams>,
    /// A generated image whose last scales are sampled again.
    pub variation: Option<VariationParams>,
}

impl StageParams for TextToImageParams {
    const STAGE: &'static str = "text-to-image";
}

/// Generates the latent of an image of a class, one pass of the transformer per scale.
#[skip_serializing_none]
#[derive(Debug, Clone, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClassToImageParams {
    /// The model whose transformer is used, instead of the pipeline's.
    pub model: Option<String>,
    /// SHA-256 of the model's weights, as recorded in images; any other model is refused.
    pub fingerprint: Option<String>,
    /// Strength of classifier-free guidance at the last scale; it rises scale by scale. 0 turns it off.
    pub cfg_scale: Option<f64>,
    /// Sampling temperature: above 1 more varied, below 1 more likely; 0 always takes the most likely code.
    pub temperature: Option<f64>,
    /// Sample from the N most likely codes; 0 for all.
    pub top_k: Option<usize>,
    /// Sample from the most likely codes whose probabilities sum to this; 0 or 1 for all.
    pub top_p: Option<f64>,
    /// Blend all codes instead of sampling one: smoother images, for demonstration.
    #[serde(default)]
    pub smooth: bool,
    /// Leave out what costs few details: the last scales, guidance in those before them, and some of their tokens. The image
    /// records what that came to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fast: bool,
    /// Number of scales that are run, from the first; all if absent. The image has its full size, with fewer details.
    pub scales: Option<usize>,
    /// Number of scales with guidance, from the first: after them a scale takes half the time.
    pub guidance_until: Option<usize>,
    /// Shares of the tokens that the last scales compute, coarse to fine: `[0.6, 0.5]` for the last two. The other tokens get what
    /// coarser ones got.
    pub keep_tokens: Option<PerScale>,
    /// Share of the keys and values of earlier scales that is kept, above 0: less memory, and other details. All are kept if absent; with
    /// `cache-index` a tenth is.
    pub cache_budget: Option<f64>,
    /// What `nextscale calibrate` has measured of the model: which layers keep more than others. The image records them as `drafters`.
    pub cache_index: Option<FilePath>,
    /// Layers that keep all their keys and values as long as that is possible, from 0, instead of an index; the others share the rest.
    pub drafters: Option<Vec<usize>>,
    /// Number of images that are generated together: more memory, less time for each. They are the same as one by one, up to
    /// rounding.
    #[default(1)]
    #[serde(default = "one::<usize>", skip_serializing_if = "is_one")]
    pub batch: usize,
    /// Leave the blocks of the transformer in their file and read them one by one in every pass: for models that are larger
    /// than memory. Same image, slower.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// An image of which a part is inpainted.
    pub edit: Option<EditParams>,
    /// An image whose first scales are reused.
    pub start: Option<StartParams>,
    /// A generated image whose last scales are sampled again.
    pub variation: Option<VariationParams>,
}

/// The parameters that both stages have.
impl From<ClassToImageParams> for TextToImageParams {
    fn from(params: ClassToImageParams) -> Self {
        Self {
            fast: params.fast,
            scales: params.scales,
            guidance_until: params.guidance_until,
            keep_tokens: params.keep_tokens,
            cache_budget: params.cache_budget,
            cache_index: params.cache_index,
            drafters: params.drafters,
            batch: params.batch,
            stream: params.stream,
            edit: params.edit,
            start: params.start,
            variation: params.variation,
            ..Self::default()
        }
    }
}

impl StageParams for ClassToImageParams {
    const STAGE: &'static str = "class-to-image";
}
