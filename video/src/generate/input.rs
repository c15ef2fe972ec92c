//! What a generation starts from.

use burn::tensor::{Int, Tensor};
use nextscale_var_core::sampler::Sampler;

use crate::{
    clips::{Pass, Plan},
    guidance::InfinityStarGuidance,
    infinity_star::{InfinityStar, Limits, Segment},
};

/// Settings of a generation.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Guidance on the logits.
    pub guidance: InfinityStarGuidance,
    /// Temperature of the first clip, which divides its logits; above 0. The first clip is the image where there is one.
    pub image_temperature: f64,
    /// Temperature of all other clips; above 0.
    pub clip_temperature: f64,
    /// Bits of the first passes, `[b, d, t, h, w]`, used instead of sampled ones: those of a given image or of the beginning
    /// of a given video ([`given_bits`](crate::pyramid::given_bits)).
    pub forced: Vec<Tensor<5, Int>>,
    /// Whether logits are computed also for passes with forced bits that no later pass attends to.
    pub forced_logits: bool,
    /// Scales, from the first of each clip, with guidance; all if absent. Of the others, passes that no later clip attends to are
    /// computed for the prompts alone.
    pub guided_scales: Option<usize>,
    /// Shares of their tokens that the last scales of image and clips compute, coarse to fine, above 0 and at most 1; all tokens of
    /// all scales if there are none. The others get what coarser ones got ([`Pruner`](nextscale_var_core::pruning::Pruner)), and
    /// their keys and values are not kept. The passes of a clip with forced bits and without logits are computed in full.
    pub keep_tokens: Vec<f64>,
    /// When the passes over a scale end before the plan ends them: once the share of bits that are those of the pass before, from
    /// 0 to 1, is below this. It is about half where bits are drawn at random, and falls where passes only correct each other. The
    /// second pass is the first that can end a scale; forced passes never do. In a batch all videos have to get there. All passes
    /// are run if absent.
    pub converge: Option<f64>,
    /// Limits on intermediate results.
    pub limits: Limits,
}

impl GenerateOptions {
    /// Guidance and temperatures, without forced bits.
    pub fn new(
        guidance: InfinityStarGuidance,
        image_temperature: f64,
        clip_temperature: f64,
    ) -> Self {
        Self {
            guidance,
            image_temperature,
            clip_temperature,
            forced: Vec::new(),
            forced_logits: false,
            guided_scales: None,
            keep_tokens: Vec::new(),
            converge: None,
            limits: Limits::default(),
        }
    }

    /// Whether a pass is guided.
    pub(super) fn guides(&self, pass: Pass) -> bool {
        let scales = self.guided_scales;
        self.guidance.is_active() && scales.is_none_or(|scales| pass.index < scales)
    }

    pub(super) fn temperature(&self, clip: usize) -> f64 {
        if clip == 0 {
            self.image_temperature
        } else {
            self.clip_temperature
        }
    }
}

/// Latent frames that the transformer attends to besides the video itself: the past of an interactive video.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The segment of the state that it replaces.
    pub segment: Segment,
    /// The latent frames, `[b, c, t, h, w]`.
    pub cells: Tensor<5>,
    /// The position of each frame on the frame axis.
    pub frames: Vec<usize>,
    /// The position on the scale axis, counted as for passes.
    pub position: usize,
}

/// What [`generate`](super::generate) generates from.
pub struct GenerateInput<'a> {
    /// The passes.
    pub plan: &'a Plan,
    /// Text features of the prompts, `[b, l, T]`, all of one length.
    pub text: Tensor<3>,
    /// Text features of the prompts to steer away from, `[b, l', T]`. Without them, guidance uses the model's unconditional
    /// prompt, as long as the prompt. Where the lengths differ, the shorter tokens are padded with zeros, which are
    /// visible, as in the released code.
    pub negative: Option<Tensor<3>>,
    /// Latent frames before the video.
    pub conditions: Vec<Condition>,
    /// Settings.
    pub options: GenerateOptions,
    /// Samples the bits. It needs one seed per video unless it is greedy. Top-k and top-p should be off, since the released
    /// models are sampled without them.
    pub sampler: Sampler,
}

/// The tokens of the prompts, followed by those of the negative prompts under guidance: `[b or 2b, l, C]`.
pub(super) fn prompt_tokens(
    model: &InfinityStar,
    text: Tensor<3>,
    negative: Option<Tensor<3>>,
    guided: bool,
) -> Tensor<3> {
    let [b, l, _] = text.dims();
    let tokens = model.text_tokens(text);
    if !guided {
        return tokens;
    }
    let negative = match negative {
        Some(negative) => model.text_tokens(negative),
        None => model.text_tokens(model.unconditional(l)).repeat_dim(0, b),
    };
    stack(tokens, negative)
}

/// The rows of `a` followed by those of `b`, the shorter tokens padded with zeros.
fn stack(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let width = a.dims()[1].max(b.dims()[1]);
    let pad = |x: Tensor<3>| {
        let [rows, l, c] = x.dims();
        if l == width {
            return x;
        }
        let zeros = Tensor::zeros([rows, width - l, c], &x.device());
        Tensor::cat(vec![x, zeros], 1)
    };
    Tensor::cat(vec![pad(a), pad(b)], 0)
}
