//! Data sets: icons with names, built from openly licensed npm packages, and pictures with classes.
//!
//! [`build`] turns a [`Recipe`], and [`build_idx`] an [`IdxRecipe`], into four files: `images.bin` (premultiplied RGB, size * size * 3 bytes a picture),
//! `alpha.bin` (size * size bytes a picture), `index.jsonl` (one [`Entry`] a line) and `manifest.json`
//! ([`Manifest`], written last). [`IconSet`] reads them, [`captions`] says what a picture shows and [`Augment`]
//! varies it a little.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod archive;
mod augment;
pub mod captions;
pub mod contact_sheet;
mod dataset;
mod entry;
mod error;
mod icons;
mod idx;
mod motion;
mod progress;
mod recipe;
mod sources;

pub use augment::{Augment, Change, composite};
pub use dataset::{IconSet, Manifest};
pub use entry::Entry;
pub use error::DataError;
pub use icons::build;
pub use idx::{IdxPair, IdxRecipe, build as build_idx};
pub use motion::{Motion, Pose, Sprite};
pub use progress::{OnProgress, Progress};
pub use recipe::{DataKind, Format, HeldOut, NamePackages, NoFlip, Package, Recipe, Source};
pub use sources::{DebianPackage, PinnedFile, Place};
