//! How long a video gets, as the stage that makes it and the text encoder in front have to agree on it.

use crate::error::PipelineError;
use crate::setup::Setup;
use crate::yaml::Node;
use nextscale_models::bundle::StarManifest;

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::stages) struct Length {
    pub seconds: Option<f64>,
    pub frames: Option<usize>,
    /// Whether the video goes on from a given one.
    pub continues: bool,
}

impl Length {
    /// What the keys of a `text-to-video` stage ask for; what is wrong with them that stage says itself.
    pub(in crate::stages) fn of_stage(node: &Node) -> Self {
        Self {
            seconds: node.get("seconds").and_then(|n| n.read().ok()),
            frames: node.get("frames").and_then(|n| n.read().ok()),
            continues: node.get("video").is_some(),
        }
    }

    /// That of the `text-to-video` stage that the stage of `setup` feeds, if there is one.
    pub(in crate::stages) fn behind(setup: &Setup) -> Option<Self> {
        let others = setup.others("text-to-video").into_iter();
        let mut fed = others.filter(|(_, _, fed)| *fed);
        fed.next().map(|(_, node, _)| Self::of_stage(node))
    }

    /// Frames of the video.
    pub(in crate::stages) fn resolve(
        &self,
        manifest: &StarManifest,
        setup: &Setup,
    ) -> Result<usize, PipelineError> {
        let refuse = |key: &str, message: String, hint: String| {
            Err(setup.refuse(key, message).hint(hint).into())
        };
        let key = if self.frames.is_some() {
            "frames"
        } else {
            "seconds"
        };
        if self.seconds.is_some() && self.frames.is_some() {
            let message = "a length is given in `seconds` or in `frames`, not in both".to_owned();
            return refuse("frames", message, "drop one of them".into());
        }
        let given = manifest.condition_frames();
        let longest = manifest.frames.longest;
        let inside = self.continues && manifest.semantic_scale.is_none();
        if inside && longest <= given {
            let message = format!("the model `{}` does not go on from videos", manifest.name);
            let hint = format!(
                "its videos have {} at most; begin with a picture instead: --image FILE",
                manifest.say(longest)
            );
            return refuse("video", message, hint);
        }
        if inside && self.seconds.is_none() && self.frames.is_none() {
            return Ok(longest.min(2 * given - 1));
        }
        let frames = match manifest.length(self.seconds, self.frames) {
            Ok(frames) => frames,
            Err((message, hint)) => return refuse(key, message, hint),
        };
        if inside && frames <= given {
            let message = format!(
                "a video of {} has no room for anything new: the given one takes {given} frames",
                manifest.say(frames)
            );
            let hint = format!("up to {} are possible", manifest.say(longest));
            return refuse(key, message, hint);
        }
        Ok(frames)
    }
}
