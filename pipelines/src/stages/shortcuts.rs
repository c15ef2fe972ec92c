//! What a run of images leaves out to be faster, or to take less memory: the user's choice, checked against the schedule and the model.

use nextscale_models::Model;
use nextscale_models::cache_index::CacheIndex;
use nextscale_models::shortcuts::{CacheBudget, ImageShortcuts, ShortcutChoice};

use super::image_params::TextToImageParams;
use super::sampling::ResolvedSampling;
use crate::error::PipelineError;
use crate::per_scale::PerScale;
use crate::setup::Setup;

/// The choice of the parameters, of a model over a number of scales; guidance of `sampling` ends where it says so.
pub(super) fn shortcuts(
    params: &TextToImageParams,
    sampling: &mut ResolvedSampling,
    (model, scales): (&Model, usize),
    setup: &Setup,
) -> Result<ImageShortcuts, PipelineError> {
    let keep_tokens = params.keep_tokens.as_ref();
    let index = params.cache_index.as_ref();
    let index = index.map(|path| CacheIndex::read(path));
    let index = index.transpose();
    let cache_index = index.map_err(|e| setup.refuse_error("cache-index", &e.into()))?;
    let choice = ShortcutChoice {
        fast: params.fast,
        scales: params.scales,
        guidance_until: params.guidance_until,
        keep_tokens: keep_tokens.map(|shares| shares.given().to_vec()),
        cache_budget: params.cache_budget,
        cache_index,
        drafters: params.drafters.clone(),
        ..ShortcutChoice::default()
    };
    let shortcuts = choice.resolve_for(model, scales);
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
        cache,
    } = shortcuts;
    let cache = cache.as_ref();
    let drafters = cache.map(|cache| cache.drafters().to_vec());
    TextToImageParams {
        fast: false,
        scales: (*run < scales).then_some(*run),
        guidance_until: (guidance_until < run).then_some(*guidance_until),
        keep_tokens: (!keep_tokens.is_empty()).then(|| PerScale::Each(keep_tokens.clone())),
        cache_budget: cache.map(CacheBudget::share),
        cache_index: None,
        drafters: drafters.filter(|drafters| !drafters.is_empty()),
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
    if let Some(cache) = &shortcuts.cache {
        named.push(("Cache budget", cache.share().to_string()));
    }
    named
}
