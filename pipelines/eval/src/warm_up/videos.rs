//! Videos of every size: prompts, passes and decoder, and the first frame where an image model makes it.

use std::sync::Arc;

use nextscale_models::generator::{VideoGenerator, VideoPlan};
use nextscale_models::{Model, ModelError, Placement, Request};

use super::prompts::prompt;
use super::work::Work;
use crate::error::EvalError;

pub(super) fn run(
    model: &Arc<Model>,
    placement: &Placement,
    work: &mut Work<'_>,
) -> Result<(), EvalError> {
    let manifest = model.infinity_star()?;
    if manifest.semantic_scale.is_some() {
        let name = model.name();
        let message = format!("the model `{name}` continues a given video, and warm-up has none");
        return Err(ModelError::refused(message).into());
    }
    let longest = manifest.transformer.text_max_len;
    let (lengths, encoded) = (work.lengths(longest), work.encoded_lengths(longest));
    let frames = manifest.length(work.options.seconds, None)?;
    let mut passes = 0;
    for size in work.sizes {
        passes += VideoPlan::new(manifest.clone(), size.clone(), frames)?.passes();
    }
    work.begin(encoded.len() + lengths.len() * passes);
    let generator = VideoGenerator::load(model, placement)?;
    for tokens in encoded {
        generator.encoder().encode(&prompt(tokens), frames)?;
        work.advance();
    }
    for size in work.sizes {
        for &tokens in &lengths {
            let request = Request::prompt(prompt(tokens))
                .size(size.width, size.height)
                .frames(frames);
            generator.generate_watched(&request, &mut |_| work.advance())?;
        }
    }
    Ok(())
}
