//! Scales and schedules: the grids on which an image or a clip is predicted, coarse to fine.

pub mod infinity;
mod scale;

pub use scale::{Scale, ScaleSchedule, ScheduleError};
