//! Measurements: how well an auto-encoder reconstructs images, how well a model follows its prompt, and how fast it is.
//!
//! Each measurement takes an options struct and returns a report that `serde` can write.
//!
//! | I want to know … | use |
//! |---|---|
//! | what an auto-encoder loses, and how its codes are used | [`tokenizer::run`] |
//! | how often an image shows what its prompt asks for | [`recall::run`] |
//! | how often an edited image shows what its instruction asks for | [`edits::run`] |
//! | how often a video moves as its prompt says | [`motion::run`] |
//! | what each way to be faster costs | [`fast::run`] |
//! | the figures of papers: FID, IS, precision and recall, CLIP score, PSNR, SSIM, LPIPS | [`scores`] |
//! | what the scorers of GenEval or VBench say | [`benchmarks`], which writes what they read |
//! | how long an image takes, part by part | [`bench::run`] |
//!
//! [`calibrate::run`] finds out which layers of a model need a large cache of keys and values. [`warm_up::run`] measures nothing: it lets a card compile its kernels before they are needed.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod bench;
pub mod benchmarks;
pub mod calibrate;
mod conditions;
pub mod edits;
mod error;
pub mod fast;
mod measure;
mod metrics;
pub mod motion;
mod random;
pub mod recall;
pub mod scores;
pub mod tokenizer;
mod tracking;
pub mod usage;
pub mod warm_up;

pub use error::EvalError;
pub use measure::{MeasureOptions, Measured, OnProgress};
