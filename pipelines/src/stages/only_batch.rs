//! Whether a run generates a single batch.

use super::classes::ClassesParams;
use super::prompts::PromptsParams;
use crate::setup::Setup;

/// Whether one batch of this size is all that a run generates, without previews: the transformer is done when the decoder
/// starts.
pub(super) fn is_only_batch(size: usize, setup: &Setup) -> bool {
    let prompts = setup.all::<PromptsParams>().map(|params| prompts(&params));
    let classes = setup.all::<ClassesParams>();
    let classes = classes.map(|params| params.classes.len().saturating_mul(params.count as usize));
    let all = prompts.chain(classes).fold(0, usize::saturating_add);
    (1..=size).contains(&all) && setup.settings.preview.is_none()
}

/// Samples of a stage of prompts; the most if it reads them.
fn prompts(params: &PromptsParams) -> usize {
    if params.file.is_some() || params.prompts.is_empty() {
        return usize::MAX;
    }
    params.prompts.len().saturating_mul(params.count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_that_are_read_are_any_number() {
        let listed = PromptsParams {
            prompts: vec!["a".into(), "b".into()],
            count: 3,
            ..PromptsParams::default()
        };
        assert_eq!(prompts(&listed), 6);
        assert_eq!(prompts(&PromptsParams::default()), usize::MAX);
        let file = PromptsParams {
            file: Some("list.txt".into()),
            ..listed
        };
        assert_eq!(prompts(&file), usize::MAX);
    }
}
