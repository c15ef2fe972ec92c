//! The OpenAI API: images and videos.

mod answer;
pub(super) mod edits;
mod form;
mod format;
pub(super) mod images;
pub(super) mod models;
mod size;
mod video_types;
pub(super) mod videos;
