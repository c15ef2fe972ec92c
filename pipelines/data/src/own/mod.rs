//! Data sets of the user's own images and videos.

mod build;
mod check;
mod download;
mod fit;
mod folder;
mod install;
mod labels;
mod media;
mod pass;
mod recipe;
mod samples;
mod shards;
mod source;
mod space;
mod table;
mod text;
mod videos;
mod webdataset;

pub use build::build_own;
pub use check::{CaptionCounts, ImageSizes, Report, check_own};
pub use recipe::{Buckets, Labels, MissingCaptions, OwnRecipe, Small};
pub use videos::{NoVideos, ReadVideo};
