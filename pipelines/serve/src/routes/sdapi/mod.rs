//! The API of A1111's web UI.

mod answer;
pub(super) mod lists;
pub(super) mod options;
pub(super) mod paint;
pub(super) mod progress;
