//! Models of Nextscale as one thing: from a name to an image.
//!
//! [`Model`] is an opened model: its description ([`Manifest`], one variant for each architecture) and its files. [`Generator`] is
//! a loaded one. [`released`] has the published checkpoints, [`memory`] says what a run takes before anything is loaded.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cache_index;
pub mod classes;
pub mod convert;
pub mod device;
pub mod download;
pub mod error;
mod files;
mod first_frame;
pub mod generator;
pub mod kernel_archive;
mod load;
mod lora;
mod machine_memory;
pub mod manifest;
pub mod memory;
mod model;
mod open;
pub mod parts;
pub mod pixels;
pub mod prompt;
pub mod released;
pub mod resize;
pub mod sampling;
pub mod search;
pub mod shortcuts;
mod size;

pub use device::Placement;
pub use error::ModelError;
pub use files::{MANIFEST, NEIGHBOURS, TEXT, TRANSFORMER, VAE, VOCAB, WORDS};
pub use first_frame::FirstFrame;
pub use generator::{Generator, Request};
pub use lora::LoraChoice;
pub use manifest::{Architecture, Manifest};
pub use model::Model;
pub use nextscale_var_core::blocks::BlockStorage;
pub use open::{DEFAULT, EDITS, SPRITES};
pub use size::{Grid, NoSuchShape, Size};
