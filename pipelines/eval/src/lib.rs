//! Measurements: how well a tokenizer reconstructs images, how well a model follows its prompt, and how fast it is.
//!
//! Each measurement takes an options struct and returns a report that `serde` can write.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod bench;
mod common;
mod distance;
pub mod motion;
pub mod recall;
pub mod tokenizer;
mod tracking;
pub mod usage;

pub use common::{Common, Measured, OnProgress};
