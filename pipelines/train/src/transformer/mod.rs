//! Training of transformers: one folder for each architecture, with the same files in each.

pub(crate) mod infinity;
pub(crate) mod infinity_star;
pub(crate) mod kind;
mod text;
pub(crate) mod var;
