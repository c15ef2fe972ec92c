//! The settings of a client.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

use super::seed;

/// What is to be generated: a prompt, several of a story, or a class, and settings. What is absent is as the model has it.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generate {
    /// A name of the list of models; the first if absent.
    pub model: Option<String>,
    /// Low-rank adapters of this server, each NAME or NAME:WEIGHT.
    pub lora: Option<Vec<String>>,
    pub prompt: Option<String>,
    /// The prompts of a story: one video, prompt after prompt.
    pub prompts: Option<Vec<String>>,
    /// Name or number of a class.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "seed::text")]
    pub class: Option<String>,
    /// What the image should not show.
    pub negative_prompt: Option<String>,
    /// One seed gives the same image. A number or its digits; random if absent or -1.
    #[schema(value_type = Option<i64>, minimum = -1)]
    #[serde(default, deserialize_with = "seed::seed")]
    pub seed: Option<u64>,
    /// How many images; their seeds follow each other.
    #[schema(minimum = 1)]
    pub n: Option<usize>,
    /// Pixels in a row.
    #[schema(minimum = 1)]
    pub width: Option<usize>,
    /// Rows.
    #[schema(minimum = 1)]
    pub height: Option<usize>,
    /// Strength of guidance.
    pub cfg_scale: Option<f64>,
    /// Above 1 more varied, below 1 more likely.
    pub temperature: Option<f64>,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
    /// Run only the first scales.
    pub scales: Option<usize>,
    /// An upload: the image that is edited, or with which a video begins.
    pub image: Option<String>,
    /// An upload of the image's size: white is painted anew, black is kept; or transparent parts are.
    pub mask: Option<String>,
    /// The part that is painted anew: left,top,width,height in pixels of the image or with %.
    #[serde(rename = "box")]
    pub region: Option<String>,
    /// Sides at which the image is extended, with the share of the result that is new: `left 0.5`.
    pub outpaint: Option<String>,
    /// Paint everything but the mask or the box.
    pub invert: Option<bool>,
    /// Keep the exact pixels outside the part that is painted.
    pub keep_original: Option<bool>,
    /// Keep so many of the first scales of `image` instead of editing it.
    pub from_scale: Option<usize>,
    /// Keep the first scales of the image of another seed.
    pub variation: Option<Variation>,
    /// An upload: the video that is continued.
    pub video: Option<String>,
    /// Length of a video.
    pub seconds: Option<f64>,
}

/// An image of which the first scales are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variation {
    /// Its seed.
    #[schema(value_type = i64, minimum = 0)]
    #[serde(deserialize_with = "seed::known")]
    pub seed: u64,
    /// How many of its scales are kept; half of them if absent.
    pub from_scale: Option<usize>,
}
