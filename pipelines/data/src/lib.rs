//! Data sets: icons with names, built from openly licensed npm packages, and images with classes.
//!
//! [`build`] turns a [`Recipe`], and [`build_idx`] an [`IdxRecipe`], into four files: `images.bin` (premultiplied RGB,
//! size * size * 3 bytes per image), `alpha.bin` (size * size bytes per image), `index.jsonl` (one [`Entry`] per line) and
//! `manifest.json` ([`Manifest`], written last). [`Dataset`] reads them, [`captions`] describes an image, [`Augment`]
//! varies it a little, [`Sprite`] moves it, and [`Editor`] edits it.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod archive;
mod augment;
pub mod captions;
pub mod contact_sheet;
mod dataset;
mod edits;
mod entry;
mod error;
mod icons;
mod idx;
mod manifest;
mod motion;
mod program;
mod progress;
mod recipe;
mod recolour;
mod sources;
mod sprite;

pub use augment::Augment;
pub use dataset::Dataset;
pub use edits::{Edit, EditKind, Editor};
pub use entry::Entry;
pub use error::DataError;
pub use icons::build;
pub use idx::{IdxPair, IdxRecipe, build as build_idx};
pub use manifest::Manifest;
pub use motion::{Motion, Pose};
pub use progress::{OnProgress, Progress};
pub use recipe::{DataKind, Format, HeldOut, IconSource, NamePackages, NoFlip, Package, Recipe};
pub use sources::{DebianPackage, PinnedFile, Source};
pub use sprite::Sprite;
