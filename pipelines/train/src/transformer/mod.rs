//! Training of transformers: one folder for each architecture, with the same files in each.

mod captioned;
pub(crate) mod comparators;
pub(crate) mod fine_tune;
pub(crate) mod infinity;
pub(crate) mod infinity_star;
mod text;
pub(crate) mod trained;
pub(crate) mod var;

use serde::{Deserialize, Serialize};

pub use fine_tune::MemoryOfRun;

/// The architecture of a transformer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TransformerKind {
    /// Prompts to images.
    #[default]
    Infinity,
    /// Classes to images.
    Var,
    /// Prompts to videos.
    #[serde(rename = "star")]
    InfinityStar,
    /// A model of any of these kinds that exists.
    FineTune,
    /// A comparator: classes to images, code by code.
    Raster,
    /// A comparator: classes to images, by diffusion.
    Dit,
}
