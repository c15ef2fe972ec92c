//! What the videos of the OpenAI API look like.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::generate::Generate;
use crate::store::record::{Record, State};
use crate::update::Update;

/// What the names of videos begin with; the name of the job follows.
pub(super) const PREFIX: &str = "video_";

/// A video to make, as JSON or as a form with `input_reference`, the image with which it begins.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::routes) struct NewVideo {
    pub(super) prompt: String,
    /// A video model of the list; OpenAI's own names stand for its first.
    pub(super) model: Option<String>,
    /// Its length, as a number or its digits.
    #[schema(value_type = Option<f64>)]
    pub(super) seconds: Option<NumberOrText>,
    /// `WIDTHxHEIGHT`.
    pub(super) size: Option<String>,
    /// An extension.
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub(super) seed: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum NumberOrText {
    Number(f64),
    Text(String),
}

/// A video and what has become of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Video {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) model: String,
    pub(super) prompt: String,
    pub(super) status: &'static str,
    /// From 0 to 100.
    pub(super) progress: usize,
    pub(super) created_at: i64,
    pub(super) seconds: Option<String>,
    pub(super) size: Option<String>,
    pub(super) error: Option<VideoError>,
}

/// Why there is no video.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VideoError {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// Videos, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct VideoList {
    pub(super) object: &'static str,
    pub(super) data: Vec<Video>,
    pub(super) first_id: Option<String>,
    pub(super) last_id: Option<String>,
    pub(super) has_more: bool,
}

/// A video that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Deleted {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) deleted: bool,
}

/// Which videos are listed.
#[derive(Debug, Deserialize, IntoParams)]
pub(in crate::routes) struct ListQuery {
    /// At most so many.
    #[param(minimum = 1, maximum = 100)]
    pub(super) limit: Option<i64>,
    /// Only those before this one, a name of a video.
    pub(super) after: Option<String>,
}

/// Which file of a video.
#[derive(Debug, Deserialize, IntoParams)]
pub(in crate::routes) struct ContentQuery {
    /// `video` or `thumbnail`.
    pub(super) variant: Option<String>,
}

/// A job as a video.
pub(super) fn described(record: &Record, updates: &[Update]) -> Video {
    let state = State::after(updates);
    let last = updates.iter().rev().find_map(percent);
    let status = match state {
        State::Queued => "queued",
        State::Running => "in_progress",
        State::Done => "completed",
        State::Failed | State::Cancelled => "failed",
    };
    let error = match updates.last() {
        Some(Update::Failed { message }) => Some(message.clone()),
        Some(Update::Cancelled) => Some("it was stopped".to_owned()),
        _ => None,
    };
    let request = record.node().ok().and_then(|root| Generate::read(&root));
    let request = request.unwrap_or_default();
    let size = request.width.zip(request.height);
    Video {
        id: format!("{PREFIX}{}", record.id),
        object: "video",
        model: record.model.clone(),
        prompt: record.prompt.clone(),
        status,
        progress: match state {
            State::Done => 100,
            // The decoder and the encoder come after the last pass.
            _ => last.unwrap_or(0).min(99),
        },
        created_at: record.created,
        seconds: request.seconds.map(|seconds| seconds.to_string()),
        size: size.map(|(width, height)| format!("{width}x{height}")),
        error: error.map(|message| VideoError {
            code: "video_generation_failed",
            message,
        }),
    }
}

/// How much of a video is there after a pass.
fn percent(update: &Update) -> Option<usize> {
    let Update::Scale {
        scale,
        scales,
        clip,
        clips,
        ..
    } = update
    else {
        return None;
    };
    let (clip, clips) = (clip.unwrap_or(1), clips.unwrap_or(1));
    let of_clip = scale * 100 / scales.max(&1);
    Some((clip.saturating_sub(1) * 100 + of_clip) / clips.max(1))
}
