//! The data set of icons: packages from npm, names, SVG drawn at the size of the set.

mod build;
mod names;
pub(crate) mod npm;
mod render;

pub use build::build;
