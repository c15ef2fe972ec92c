//! The claims about next-scale prediction, measured on the machine at hand. Each study writes a folder with a report: one HTML file with
//! its plots, the tables as CSV, and everything as JSON.
//!
//! | module | what |
//! |---|---|
//! | [`cost`] | operations and seconds against resolution: VAR, raster autoregression with and without a cache, diffusion |
//! | [`scaling`] | test loss and token error of VAR against size and compute |
//! | [`paradigms`] | VAR, raster autoregression and diffusion of one size, trained for one time: quality and cost |
//! | [`zero_shot`] | in-painting, out-painting and editing by a model of classes |
//! | [`fit`] | power laws |
//! | [`report`] | the folder of a study |
//!
//! What is measured here and what a paper says is never mixed: figures of papers are labelled as such.

pub mod cost;
mod error;
pub mod fit;
mod operations;
pub mod paradigms;
mod recipe;
pub mod report;
mod room;
mod runs;
pub mod scaling;
pub mod watch;
pub mod zero_shot;

pub use error::StudyError;
pub use operations::Operations;
