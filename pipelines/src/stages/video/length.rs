//! The length of a video, on which the stage that generates it and the text encoder before it have to agree.

use nextscale_models::manifest::InfinityStarManifest;
use nextscale_models::prompt::stated_length;

use super::params::TextToVideoParams;
use crate::error::{Diagnostic, PipelineError};
use crate::setup::Setup;
use crate::stages::PromptsParams;

/// A length as the user asked for it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::stages) struct VideoLength {
    pub seconds: Option<f64>,
    pub frames: Option<usize>,
    /// Whether the video continues a given one.
    pub continues: bool,
    /// Whether its prompts tell a story.
    pub story: bool,
}

impl VideoLength {
    /// The length that a `text-to-video` stage asks for, or else the one that a prompt states.
    pub(in crate::stages) fn of(params: &TextToVideoParams, setup: &Setup) -> Self {
        let stated = prompts(setup).find_map(|prompt| Some(stated_length(&prompt)?.0));
        let stated = stated.filter(|_| params.frames.is_none());
        Self {
            seconds: params.seconds.or(stated),
            frames: params.frames,
            continues: params.video.is_some(),
            story: setup.all::<PromptsParams>().any(|source| source.story),
        }
    }

    /// Refuses prompts that state another length, before any weight is loaded.
    pub(super) fn check_prompts(
        manifest: &InfinityStarManifest,
        frames: usize,
        setup: &Setup,
    ) -> Result<(), Diagnostic> {
        prompts(setup).try_for_each(|prompt| {
            let checked = manifest.without_length(&prompt, frames).map(drop);
            checked.map_err(|error| setup.refuse_error("seconds", &error.into()))
        })
    }

    /// Number of frames of the video; of a story by a model that is not interactive, of the image and two clips.
    pub(in crate::stages) fn resolve(
        &self,
        manifest: &InfinityStarManifest,
        setup: &Setup,
    ) -> Result<usize, PipelineError> {
        let refuse = |key: &str, message: String, hint: String| {
            Err(setup.refuse(key, message).hint(hint).into())
        };
        if self.seconds.is_some() && self.frames.is_some() {
            let message = "a length is given in `seconds` or in `frames`, not in both".to_owned();
            return refuse("frames", message, "drop one of them".into());
        }
        let key = if self.frames.is_some() {
            "frames"
        } else {
            "seconds"
        };
        if self.story && manifest.semantic_scale.is_none() {
            return self.of_story(key, manifest, setup);
        }
        let given = manifest.condition_frames();
        let longest = manifest.frames.longest;
        // The given frames are part of the video, except in interactive models.
        let included = self.continues && manifest.semantic_scale.is_none();
        if included && longest <= given {
            let message = format!("the model `{}` does not continue videos", manifest.name);
            let longest = manifest.describe(longest);
            let hint = format!(
                "its videos have {longest} at most; begin with an image instead: --image FILE"
            );
            return refuse("video", message, hint);
        }
        if included && self.seconds.is_none() && self.frames.is_none() {
            return Ok(longest.min(manifest.continued_frames()));
        }
        let frames = manifest.length(self.seconds, self.frames);
        let frames = frames.map_err(|error| setup.refuse_error(key, &error.into()))?;
        if included && frames <= given {
            let length = manifest.describe(frames);
            let message = format!(
                "a video of {length} has no room for new frames: the given one takes {given} frames"
            );
            let hint = format!("up to {} are possible", manifest.describe(longest));
            return refuse(key, message, hint);
        }
        Ok(frames)
    }

    /// That of a prompt's part of a story with the frames that it continues.
    fn of_story(
        &self,
        key: &str,
        manifest: &InfinityStarManifest,
        setup: &Setup,
    ) -> Result<usize, PipelineError> {
        let name = &manifest.name;
        if !manifest.tells_stories() {
            let message = format!("the model `{name}` makes a video of one prompt, not of a story");
            let hint = "name one that continues its own videos, such as infinitystar-8b-480p, or an interactive one";
            return Err(PipelineError::refused_with(message, hint));
        }
        let frames = manifest.continued_frames();
        let asked = self.seconds.is_some() || self.frames.is_some();
        if asked && manifest.length(self.seconds, self.frames).ok() != Some(frames) {
            let clip = manifest.seconds(manifest.condition_frames());
            let message = format!("in a story by the model `{name}` each prompt adds {clip} s");
            return Err(setup
                .refuse(key, message)
                .hint("leave out the length")
                .into());
        }
        Ok(frames)
    }
}

/// The prompts that the pipeline names itself.
fn prompts(setup: &Setup) -> impl Iterator<Item = String> {
    let sources = setup.all::<PromptsParams>();
    sources.flat_map(|source| source.prompts)
}
