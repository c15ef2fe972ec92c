//! What happens to a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What happens to a job, in the order in which it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Update {
    /// It waits. A second time: the server that painted it is gone, and it is painted again.
    Queued,
    /// It runs, and parts of a model are loaded.
    Loading,
    /// A scale of an image, or a pass over one of a video, is there.
    Scale {
        /// Which image, from 0.
        index: usize,
        /// Which scale, from 1; of videos, which pass over the clip.
        scale: usize,
        /// How many there are.
        scales: usize,
        /// Which clip of a video, from 1; the first is the image with which it begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clip: Option<usize>,
        /// How many there are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clips: Option<usize>,
    },
    /// The image after a scale is there.
    Preview {
        /// Which image, from 0.
        index: usize,
        /// Which scale, from 1.
        scale: usize,
        /// Its file in the folder of the job.
        file: String,
    },
    /// Something to know that stops nothing.
    Notice {
        /// One sentence.
        message: String,
    },
    /// An image or a video is finished.
    Image {
        /// Which image, from 0.
        index: usize,
        /// Its seed.
        seed: u64,
        /// Its file in the folder of the job.
        file: String,
    },
    /// All is done.
    Done,
    /// It was stopped by a client.
    Cancelled,
    /// It failed.
    Failed {
        /// One sentence.
        message: String,
    },
}

impl Update {
    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed { .. })
    }

    /// The name of its event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Loading => "loading",
            Self::Scale { .. } => "scale",
            Self::Preview { .. } => "preview",
            Self::Notice { .. } => "notice",
            Self::Image { .. } => "image",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A finished image or video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Finished {
    /// Which, from 0.
    pub index: usize,
    /// Its seed.
    pub seed: u64,
    /// Its file in the folder of the job.
    pub file: String,
    /// The images after its scales, coarse to fine.
    pub scales: Vec<String>,
}

/// The finished images among updates, in their order.
pub(crate) fn finished(updates: &[Update]) -> Vec<Finished> {
    let mut images: Vec<Finished> = vec![];
    for update in updates {
        if let Update::Image { index, seed, file } = update {
            // A job that was painted a second time has told of its images twice.
            images.retain(|image| image.index != *index);
            images.push(Finished {
                index: *index,
                seed: *seed,
                file: file.clone(),
                scales: previews(updates, *index),
            });
        }
    }
    images.sort_unstable_by_key(|image| image.index);
    images
}

fn previews(updates: &[Update], of: usize) -> Vec<String> {
    let mut files = vec![];
    for update in updates {
        if let Update::Preview { index, file, .. } = update
            && *index == of
            && !files.contains(file)
        {
            files.push(file.clone());
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_was_painted_twice_is_there_once() {
        let image = |seed| Update::Image {
            index: 0,
            seed,
            file: "a.png".to_owned(),
        };
        let preview = Update::Preview {
            index: 0,
            scale: 1,
            file: "s.png".to_owned(),
        };
        let updates = [preview.clone(), image(1), Update::Queued, preview, image(1)];
        let found = finished(&updates);
        assert_eq!((found.len(), found[0].scales.len()), (1, 1));
    }

    #[test]
    fn names_are_those_of_the_events() {
        for update in [
            Update::Queued,
            Update::Done,
            Update::Notice {
                message: String::new(),
            },
        ] {
            let written = serde_json::to_value(&update).unwrap();
            assert_eq!(written["event"], update.name());
        }
    }
}
