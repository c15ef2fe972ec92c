//! The data set of icons: packages from npm, one name per concept, artwork rendered at the size of the set.

mod build;
mod icon;
mod iconify;
mod names;
mod npm;
mod render;
mod rendered;
mod spelling;
mod split;

pub use build::build;
pub(crate) use build::keywords;
