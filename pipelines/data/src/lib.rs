//! Data sets: own images and videos with captions or classes, icons with names, built from openly licensed npm packages, and
//! images with classes in the format of MNIST.
//!
//! [`build_own`] turns an [`OwnRecipe`], [`build`] a [`Recipe`], and [`build_idx`] an [`IdxRecipe`] into these files:
//! `images.bin` (premultiplied RGB, width * height * 3 bytes per image or frame, in the order of the index), `alpha.bin`
//! (width * height bytes per image; not in sets without transparency), `index.jsonl` (one [`Entry`] per line) and
//! `manifest.json` ([`Manifest`], written last). [`check_own`] says beforehand what own files are good for. [`Dataset`] reads a
//! data set, [`captions`] describes an image, [`Augment`] varies it a little, [`Sprite`] moves it, and [`Editor`] edits it.
//! [`by_category`] gives icons classes, [`neighbours`] finds the icon that stands for a word.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod archive;
mod augment;
mod by_category;
pub mod captions;
pub mod contact_sheet;
mod dataset;
mod edits;
mod entry;
mod error;
mod icons;
mod idx;
mod index;
mod layout;
mod manifest;
mod motion;
mod own;
mod program;
mod progress;
mod recipe;
mod recolour;
mod sources;
mod sprite;
mod words;

pub use augment::Augment;
pub use by_category::by_category;
pub use dataset::Dataset;
pub use edits::{Edit, EditKind, Editor};
pub use entry::Entry;
pub use error::DataError;
pub use icons::build;
pub use idx::{IdxPair, IdxRecipe, build as build_idx};
pub use image::RgbImage;
pub use manifest::{Manifest, Skipped};
pub use motion::{Course, Motion, Pose};
pub use own::{
    Buckets, CaptionCounts, ImageSizes, Labels, MissingCaptions, NoVideos, OwnRecipe, ReadVideo,
    Report, Small, build_own, check_own,
};
pub use progress::{OnProgress, Progress};
pub use recipe::{DataKind, Format, HeldOut, IconSource, NamePackages, NoFlip, Package, Recipe};
pub use sources::{DebianPackage, PinnedFile, Source};
pub use sprite::Sprite;
pub use words::{WordNetFiles, WordsRecipe, neighbours};
