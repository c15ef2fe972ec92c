//! What a run of images leaves out to be faster: the user's choice, checked against the schedule.

use nextscale_models::shortcuts::{ImageShortcuts, ShortcutChoice};

use super::image_params::TextToImageParams;
use super::sampling::ResolvedSampling;
use crate::error::PipelineError;
use crate::per_scale::PerScale;
use crate::setup::Setup;

/// The choice of the parameters, over `scales` scales; guidance of `sampling` ends where it says so.
pub(super) fn shortcuts(
    params: &TextToImageParams,
    sampling: &mut ResolvedSampling,
    scales: usize,
    setup: &Setup,
) -> Result<ImageShortcuts, PipelineError> {
    let keep_tokens = params.keep_tokens.as_ref();
    let choice = ShortcutChoice {
        fast: params.fast,
        scales: params.scales,
        guidance_until: params.guidance_until,
        keep_tokens: keep_tokens.map(|shares| shares.given().to_vec()),
        ..ShortcutChoice::default()
    };
    let shortcuts = choice.resolve(scales);
    let shortcuts = shortcuts.map_err(|e| setup.refuse(e.key, e.message))?;
    if params.guidance_until.is_some() && sampling.plan.guided_scales(shortcuts.scales) == 0 {
        return Err(without_guidance(setup));
    }
    let plan = sampling.plan.clone();
    sampling.plan = plan.guided_until(shortcuts.guidance_until);
    Ok(shortcuts)
}

/// The refusal of `guidance-until` where there is no guidance.
pub(super) fn without_guidance(setup: &Setup) -> PipelineError {
    let message = "`guidance-until` is for guidance, which `cfg-scale` turns off";
    let refused = setup.refuse("guidance-until", message);
    refused.hint("leave one of them out").into()
}

/// The parameters with what the shortcuts came to, over `scales` scales.
pub(super) fn resolved(
    params: TextToImageParams,
    shortcuts: &ImageShortcuts,
    scales: usize,
) -> TextToImageParams {
    let ImageShortcuts {
        scales: run,
        guidance_until,
        keep_tokens,
    } = shortcuts;
    TextToImageParams {
        fast: false,
        scales: (*run < scales).then_some(*run),
        guidance_until: (guidance_until < run).then_some(*guidance_until),
        keep_tokens: (!keep_tokens.is_empty()).then(|| PerScale::Each(keep_tokens.clone())),
        ..params
    }
}

/// The named values of the `parameters` line.
pub(super) fn parameters(shortcuts: &ImageShortcuts) -> Vec<(&'static str, String)> {
    let mut named = vec![("Steps", shortcuts.scales.to_string())];
    if shortcuts.guidance_until < shortcuts.scales {
        named.push(("Guidance until", shortcuts.guidance_until.to_string()));
    }
    if !shortcuts.keep_tokens.is_empty() {
        let shares = PerScale::Each(shortcuts.keep_tokens.clone());
        named.push(("Kept tokens", shares.to_string()));
    }
    named
}
