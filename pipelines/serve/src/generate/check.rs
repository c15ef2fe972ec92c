//! What a model does not take, and what is too much.

use super::settings::Generate;
use crate::models::{Edits, Makes, ModelInfo, Source};
use crate::options::Options;
use crate::refusal::Refusal;

/// The longest prompt, in bytes.
pub(super) const LONGEST_PROMPT: usize = 32_000;
/// The most prompts of a story.
const MOST_PROMPTS: usize = 64;

impl Generate {
    /// Refuses settings that the model does not take, no prompt, one that is too long, too many images.
    pub(super) fn check(&self, options: &Options, model: &ModelInfo) -> Result<(), Refusal> {
        let name = &model.name;
        let given = |given: bool, message: &str| match given.then_some(()) {
            Some(()) => Err(Refusal::bad(format!("the model `{name}` {message}"))),
            None => Ok(()),
        };
        let prompts = self.prompt.iter().chain(self.prompts.iter().flatten());
        match model.from {
            Source::Class => {
                given(self.class.is_none(), "takes a `class`")?;
                given(prompts.clone().count() > 0, "takes a `class`, not a prompt")?;
            }
            Source::Prompt => {
                given(self.class.is_some(), "takes a `prompt`, not a class")?;
                if prompts.clone().all(|prompt| prompt.trim().is_empty()) {
                    return Err(Refusal::bad("`prompt` is empty: say what to paint"));
                }
            }
        }
        given(
            self.prompts.as_ref().is_some_and(|all| all.len() > 1) && !model.story,
            "takes one prompt",
        )?;
        let is_video = model.makes == Makes::Video;
        given(
            self.seconds.is_some() && !is_video,
            "makes images, which have no length",
        )?;
        let part = self.mask.is_some() || self.region.is_some() || self.outpaint.is_some();
        let of_images = part || self.variation.is_some() || self.from_scale.is_some();
        given(
            of_images && is_video,
            "makes videos, and only images are edited",
        )?;
        given(
            self.video.is_some() && !is_video,
            "makes images, and only videos are continued",
        )?;
        given(
            part && model.edits == Some(Edits::Instruction),
            "edits whole images by instruction: leave out the mask",
        )?;
        if (part || self.from_scale.is_some()) && self.image.is_none() {
            return Err(Refusal::bad("`image` is missing: the image that is edited"));
        }
        if prompts.clone().count() > MOST_PROMPTS {
            let message = format!("a story has at most {MOST_PROMPTS} prompts");
            return Err(Refusal::bad(message));
        }
        for text in prompts.chain(&self.negative_prompt) {
            check_text(text)?;
        }
        let n = self.n.unwrap_or(1);
        if n == 0 || n > options.images {
            return Err(Refusal::bad(format!("`n` is from 1 to {}", options.images)));
        }
        Ok(())
    }
}

/// Refuses a text that is too long or cannot be written into a file.
fn check_text(text: &str) -> Result<(), Refusal> {
    if text.len() > LONGEST_PROMPT {
        let most = LONGEST_PROMPT;
        return Err(Refusal::bad(format!("a prompt has at most {most} bytes")));
    }
    if text.contains('\0') {
        return Err(Refusal::bad("a prompt has no NUL characters"));
    }
    Ok(())
}
